"""Who gets what from which address: a status for everyone who may come, which tests/webapp/test_matrix.py asks for and explains."""

from dataclasses import dataclass

PAGES = """
                                                      nobody   stranger viewer   operator reviewer owner    staff
GET     /                                             302      302      302      302      302      302      200
GET     account/                                      302      200      200      200      200      200      200
GET     account/password/                             302      302      302      302      302      302      302
POST    account/password/                             302      302      302      302      302      302      302
POST    account/provider/                             302      404      404      404      404      404      404
POST    account/provider/remove/                      302      404      404      404      404      404      404
GET     account/second-factor/                        302      200      200      200      200      200      200
POST    account/second-factor/                        302      400      400      400      400      400      400
POST    account/second-factor/codes/                  302      302      302      302      302      302      302
POST    account/second-factor/off/                    302      302      302      302      302      302      302
POST    account/sessions/<session_id>/end/            302      404      404      404      404      302      404
POST    account/sessions/end-others/                  302      302      302      302      302      302      302
GET     api/v1/docs/                                  200      200      200      200      200      200      200
HEAD    api/v1/docs/                                  200      200      200      200      200      200      200
GET     api/v1/schema/                                200      200      200      200      200      200      200
HEAD    api/v1/schema/                                200      200      200      200      200      200      200
OPTIONS api/v1/schema/                                200      200      200      200      200      200      200
GET     artifacts/<artifact_id>/                      302      404      200      200      200      200      404
GET     audit/                                        302      403      403      403      403      403      200
GET     audit/export/                                 302      403      403      403      403      403      200
GET     metrics                                       200      200      200      200      200      200      200
HEAD    metrics                                       200      200      200      200      200      200      200
GET     p/<slug>/                                     302      404      200      200      200      200      404
GET     p/<slug>/audit/                               302      404      403      403      403      200      404
GET     p/<slug>/audit/export/                        302      404      403      403      403      200      404
GET     p/<slug>/compare/?runs=<run_id>,<other_id>  302      404      200      200      200      200      404
GET     p/<slug>/compare/curves/?runs=<run_id>,<other_id>  302      404      200      200      200      200      404
POST    p/<slug>/delete/                              302      404      403      403      403      302      404
GET     p/<slug>/launch/                              302      404      403      200      200      200      404
POST    p/<slug>/launch/                              302      404      403      400      400      400      404
POST    p/<slug>/launch/budget/                       302      404      403      200      200      200      404
POST    p/<slug>/launch/fields/                       302      404      403      200      200      200      404
GET     p/<slug>/members/                             302      404      200      200      200      200      404
POST    p/<slug>/members/put/                         302      404      403      403      403      302      404
POST    p/<slug>/members/remove/                      302      404      403      403      403      302      404
GET     p/<slug>/methods/                             302      404      200      200      200      200      404
GET     p/<slug>/methods/<method_id>/                 302      404      200      200      200      200      404
GET     p/<slug>/models/                              302      404      200      200      200      200      404
POST    p/<slug>/restore/                             302      404      404      404      404      404      404
GET     p/<slug>/settings/                            302      404      200      200      200      200      404
POST    p/<slug>/settings/                            302      404      403      403      403      302      404
GET     p/<slug>/tokens/                              302      404      200      200      200      200      404
POST    p/<slug>/tokens/                              302      404      200      200      200      200      404
POST    p/<slug>/tokens/<token_id>/revoke/            302      404      404      404      404      302      404
GET     p/<slug>/trash/                               302      404      200      200      200      200      404
GET     password/                                     200      200      200      200      200      200      200
HEAD    password/                                     200      200      200      200      200      200      200
POST    password/                                     200      200      200      200      200      200      200
PUT     password/                                     200      200      200      200      200      200      200
OPTIONS password/                                     200      200      200      200      200      200      200
GET     password/<uidb64>/<token>/                    302      302      302      302      302      302      302
HEAD    password/<uidb64>/<token>/                    302      302      302      302      302      302      302
POST    password/<uidb64>/<token>/                    302      302      302      302      302      302      302
PUT     password/<uidb64>/<token>/                    302      302      302      302      302      302      302
PATCH   password/<uidb64>/<token>/                    302      302      302      302      302      302      302
DELETE  password/<uidb64>/<token>/                    302      302      302      302      302      302      302
OPTIONS password/<uidb64>/<token>/                    302      302      302      302      302      302      302
GET     password/sent/                                200      200      200      200      200      200      200
GET     readyz                                        200      200      200      200      200      200      200
HEAD    readyz                                        200      200      200      200      200      200      200
GET     runs/<run_id>/                                302      404      200      200      200      200      404
POST    runs/<run_id>/clone/                          302      404      403      302      302      302      404
POST    runs/<run_id>/continue/                       302      404      403      302      302      302      404
GET     runs/<run_id>/curves/                         302      404      200      200      200      200      404
POST    runs/<run_id>/delete/                         302      404      403      302      302      302      404
POST    runs/<run_id>/edit/                           302      404      403      302      302      302      404
POST    runs/<run_id>/restore/                        302      404      403      302      302      302      404
POST    runs/<run_id>/resume/                         302      404      403      302      302      302      404
POST    runs/<run_id>/retry/                          302      404      403      302      302      302      404
GET     runs/<run_id>/status/                         302      404      200      200      200      200      404
POST    runs/<run_id>/stop/                           302      404      403      302      302      302      404
GET     sign-in/                                      200      302      302      302      302      302      302
HEAD    sign-in/                                      200      302      302      302      302      302      302
POST    sign-in/                                      200      302      302      302      302      302      302
PUT     sign-in/                                      200      302      302      302      302      302      302
PATCH   sign-in/                                      405      302      302      302      302      302      302
DELETE  sign-in/                                      405      302      302      302      302      302      302
OPTIONS sign-in/                                      200      302      302      302      302      302      302
GET     sign-in/code/                                 302      302      302      302      302      302      302
POST    sign-in/code/                                 302      302      302      302      302      302      302
GET     sign-in/provider/                             404      404      404      404      404      404      404
GET     sign-in/provider/back/                        404      404      404      404      404      404      404
POST    sign-out/                                     302      302      302      302      302      302      302
OPTIONS sign-out/                                     200      200      200      200      200      200      200
GET     vendor/plotly-<plotly_version>.min.js         200      200      200      200      200      200      200
"""
API = """
                                                      nobody   stranger viewer   operator reviewer owner    staff    read     launch   admin
GET     api/v1/artifacts/<artifact_id>/download/      401      404      200      200      200      200      404      200      200      200
GET     api/v1/audit/                                 401      403      403      403      403      403      200      403      403      403
GET     api/v1/audit/export/                          401      403      403      403      403      403      200      403      403      403
GET     api/v1/compare/?runs=<run_id>,<other_id>  401      404      200      200      200      200      404      200      200      200
GET     api/v1/compare/curves/?runs=<run_id>,<other_id>  401      404      200      200      200      200      404      200      200      200
GET     api/v1/me/                                    401      200      200      200      200      200      200      200      200      200
GET     api/v1/methods/                               401      200      200      200      200      200      200      200      200      200
GET     api/v1/methods/<method_id>/                   401      200      200      200      200      200      200      200      200      200
GET     api/v1/models/?project=<slug>                 401      404      200      200      200      200      404      200      200      200
GET     api/v1/projects/                              401      200      200      200      200      200      200      200      200      200
GET     api/v1/projects/<slug>/                       401      404      200      200      200      200      404      200      200      200
PATCH   api/v1/projects/<slug>/                       401      404      403      403      403      400      404      403      403      400
GET     api/v1/projects/<slug>/audit/                 401      404      403      403      403      200      404      403      403      200
GET     api/v1/projects/<slug>/audit/export/          401      404      403      403      403      200      404      403      403      200
POST    api/v1/projects/<slug>/delete/                401      404      403      403      403      400      404      403      403      400
GET     api/v1/projects/<slug>/members/               401      404      200      200      200      200      404      200      200      200
PUT     api/v1/projects/<slug>/members/<username>/    401      404      403      403      403      400      404      403      403      400
DELETE  api/v1/projects/<slug>/members/<username>/    401      404      403      403      403      204      404      403      403      204
POST    api/v1/projects/<slug>/restore/               401      404      404      404      404      404      404      403      403      403
GET     api/v1/projects/<slug>/runs/                  401      404      200      200      200      200      404      200      200      200
POST    api/v1/projects/<slug>/runs/                  401      404      403      400      400      400      404      403      400      400
GET     api/v1/runs/<run_id>/                         401      404      200      200      200      200      404      200      200      200
PATCH   api/v1/runs/<run_id>/                         401      404      403      200      200      200      404      403      200      200
DELETE  api/v1/runs/<run_id>/                         401      404      403      200      200      200      404      403      200      200
GET     api/v1/runs/<run_id>/artifacts/               401      404      200      200      200      200      404      200      200      200
GET     api/v1/runs/<run_id>/attempts/                401      404      200      200      200      200      404      200      200      200
POST    api/v1/runs/<run_id>/clone/                   401      404      403      201      201      201      404      403      201      201
POST    api/v1/runs/<run_id>/continue/                401      404      403      400      400      400      404      403      400      400
GET     api/v1/runs/<run_id>/evaluations/             401      404      200      200      200      200      404      200      200      200
GET     api/v1/runs/<run_id>/history/                 401      404      200      200      200      200      404      200      200      200
GET     api/v1/runs/<run_id>/logs/                    401      404      200      200      200      200      404      200      200      200
GET     api/v1/runs/<run_id>/metrics/                 401      404      200      200      200      200      404      200      200      200
POST    api/v1/runs/<run_id>/restore/                 401      404      403      409      409      409      404      403      409      409
POST    api/v1/runs/<run_id>/resume/                  401      404      403      409      409      409      404      403      409      409
POST    api/v1/runs/<run_id>/retry/                   401      404      403      409      409      409      404      403      409      409
POST    api/v1/runs/<run_id>/stop/                    401      404      403      200      200      200      404      403      200      200
GET     api/v1/tasks/                                 401      200      200      200      200      200      200      200      200      200
GET     api/v1/tokens/                                401      200      200      200      200      200      200      200      200      200
POST    api/v1/tokens/                                401      400      400      400      400      400      400      400      400      400
DELETE  api/v1/tokens/<token_id>/                     401      404      404      404      404      200      404      200      403      200
"""
STREAMS = """
                                                      nobody   stranger viewer   operator reviewer owner    staff
GET     p/<slug>/events?runs=<run_id>                 401      404      200      200      200      200      404
GET     runs/<run_id>/events                          401      404      200      200      200      200      404
"""


@dataclass(frozen=True)
class Line:
    method: str
    route: str
    expected: tuple[int, ...]
    who: tuple[str, ...]

    @property
    def path(self) -> str:
        """The address without its query, as the resolver has it: of the first page it is empty."""
        return self.route.partition("?")[0].removeprefix("/")

    def __str__(self) -> str:
        return f"{self.method} {self.route}"

    def as_text(self) -> str:
        return f"{self.method:7} {self.route}  " + " ".join(map(str, self.expected))


def lines_of(table: str) -> list[Line]:
    head, *lines = (line.split() for line in table.strip().splitlines())
    return [Line(method, route, tuple(map(int, statuses)), tuple(head)) for method, route, *statuses in lines]
