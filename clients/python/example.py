"""Creates a user twice, reads it, and lists some users: python example.py [HOST:PORT]"""

import asyncio
import sys
import uuid

import capnp
from users_client import EmailTaken, Invalid, UnknownOutcome, UsersClient, UsersError


async def main(address: str) -> None:
    async with UsersClient(address) as users:
        id = str(uuid.uuid4())  # makes repeating safe
        try:
            created = await users.create(id=id, email=f"{id}@example.com", name="Jane Doe")
            print("created", created.user.id)
            again = await users.create(id=id, email=f"{id}@example.com", name="Jane Doe")
            print("replayed", again.replayed)
        except (Invalid, EmailTaken) as refused:
            print("refused:", refused)
        except UnknownOutcome:
            print("unknown: create again with the same id to find out")
        print("read", await users.get(id))
        page = await users.list(page_size=10)
        print("listed", len(page.users))


try:
    asyncio.run(capnp.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4001")))
except (UsersError, ValueError) as error:
    sys.exit(f"example.py: {error}")
