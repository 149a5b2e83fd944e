"""The audit trail: who did what, when, from where. Written here, read by `trail`, never changed."""

from webapp.accounts.audit.writing import by_operator as by_operator
from webapp.accounts.audit.writing import of_account as of_account
from webapp.accounts.audit.writing import record as record
from webapp.accounts.audit.writing import verdict as verdict
