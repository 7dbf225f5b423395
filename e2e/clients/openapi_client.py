"""A client generated from the OpenAPI document creates a user, reads it, and tells problems apart by their types:
python openapi_client.py http://127.0.0.1:3000"""

import sys
import uuid

from users_api import Client
from users_api.api.users import create_user, get_user
from users_api.models import NewUser, Problem, ProblemType, User
from users_api.types import Unset

with Client(base_url=sys.argv[1]) as gateway:
    jane = NewUser(email=f"jane.{uuid.uuid4()}@example.com", name="Jane Doe")

    created = create_user.sync(client=gateway, body=jane)
    assert isinstance(created, User), created
    assert (created.email, created.name) == (jane.email, jane.name)

    found = get_user.sync(created.id, client=gateway)
    assert found == created, found

    taken = create_user.sync(client=gateway, body=jane)
    assert isinstance(taken, Problem), taken
    assert taken.type_ is ProblemType.URNPROBLEM_TYPEUSERSEMAIL_TAKEN, taken

    invalid = create_user.sync(client=gateway, body=NewUser(email="o@localhost", name=""))
    assert isinstance(invalid, Problem), invalid
    assert invalid.type_ is ProblemType.URNPROBLEM_TYPEUSERSINVALID, invalid
    assert not isinstance(invalid.errors, Unset)
    assert [(error.pointer, error.detail) for error in invalid.errors] == [
        ("#/email", "must have a dot in the domain, as in example.com"),
        ("#/name", "must have 1 to 200 characters"),
    ]
