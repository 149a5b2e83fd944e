"""Database and store in one file, and back.

The file is a tar archive, read from its start to its end and never backwards:

    database/<table>/<number>.copy.gz   rows of a table as PostgreSQL's COPY writes them, at most CHUNK bytes before compression
    store/<path>                        a file of the store, as it is
    manifest.json                       version, migrations, tables, files: size and SHA-256 of each member above
    manifest.sha256                     the SHA-256 of manifest.json: the end, without which the file is not whole

The tables are made by the migrations, and their rows are copied within one snapshot. So any PostgreSQL from 15 on restores what any other has
written, and no client program has to fit the server.

tables.py (rows → chunks and back) and files.py (which files, kept from being deleted) are what write.py and read.py are made of;
restore.py puts what read.py has checked into an empty database and store.
"""
