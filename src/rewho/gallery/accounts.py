"""Users of a gallery that is shown by a service: passwords, roles, cameras, sessions, tokens of programs.

A password is stored as its Argon2id hash; of sessions and tokens only a SHA-256 is stored, so that a copy of the folder
lets nobody in.
"""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from rewho.core.check import UserError, check_choice, install
from rewho.gallery import audit
from rewho.gallery.database import Database
from rewho.gallery.records import Actor

ROLES = ("viewer", "operator", "admin")
"""Each may do what the one before it may."""
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 256
SESSION_S, IDLE_S = 12 * 3600.0, 2 * 3600.0
"""A session ends after the first, and after the second without a request."""
SEEN_EVERY_S = 60.0
"""A session's last request is written down at most this often, because each write goes to the disk."""
_NAME = re.compile(r"[\w.@+-]{1,64}")


class Account(NamedTuple):
    """A user.

    Attributes:
        id: Their number.
        name: Their name, which the audit holds.
        role: viewer, operator or admin.
        cameras: Ids of the cameras that they may see; None is all.
        disabled: Whether they are locked out.
    """

    id: int
    name: str
    role: str
    cameras: frozenset[int] | None
    disabled: bool = False

    def actor(self, purpose: str = "") -> Actor:
        """Return the user as one who asks the gallery."""
        return Actor(self.name, purpose, self.cameras)


class Session(NamedTuple):
    """A user with the secret that a page must send along with every change."""

    account: Account
    csrf: str


class Accounts:
    """The users of a gallery.

    Args:
        database: The gallery's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> list[Account]:
        """Return all users, by name."""
        rows = self._database.rows("SELECT id, name, role, all_cameras, disabled FROM users ORDER BY name")
        return [self._account(row) for row in rows]

    def create(
        self, name: str, password: str, role: str, cameras: Sequence[str] | None = None, *, by: Actor
    ) -> Account:
        """Make a user.

        Args:
            name: Letters, digits and . _ @ + -.
            password: 12 to 256 characters.
            role: viewer, operator or admin.
            cameras: Names of the cameras that they may see; None is all, also those that come later.
            by: Who makes them.
        """
        _check_name(name)
        check_choice("role", role, ROLES)
        content = hash_password(check_password(password))
        with self._database.writing() as link:
            if link.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone():
                raise UserError("user", expected="a new name", got=repr(name), fix="Choose another name.")
            made = link.execute(
                "INSERT INTO users (name, password, role, all_cameras, created) VALUES (?, ?, ?, ?, ?)",
                (name, content, role, cameras is None, self._database.now()),
            ).lastrowid
            assert made is not None
            self._set_cameras(made, cameras)
            asked = {"user": made, "role": role, "every camera": cameras is None}
            audit.append(self._database, by.who, by.purpose, "user created", asked, users=[made])
        return self.read(made)

    def change(
        self,
        user: int,
        *,
        by: Actor,
        role: str | None = None,
        cameras: Sequence[str] | None = None,
        all_cameras: bool | None = None,
        disabled: bool | None = None,
        password: str | None = None,
    ) -> Account:
        """Change what is given of a user; all their sessions end. The last administrator stays one."""
        before = self.read(user)
        if role is not None:
            check_choice("role", role, ROLES)
        if password is not None:
            check_password(password)
        with self._database.writing() as link:
            loses = disabled or (role is not None and role != "admin")
            if before.role == "admin" and not before.disabled and loses and self._admins() == 1:
                fix = "Make another administrator first."
                raise UserError(before.name, expected="an administrator to remain", got="the last one", fix=fix)
            if role is not None:
                link.execute("UPDATE users SET role = ? WHERE id = ?", (role, user))
            if disabled is not None:
                link.execute("UPDATE users SET disabled = ? WHERE id = ?", (disabled, user))
            if password is not None:
                link.execute("UPDATE users SET password = ? WHERE id = ?", (hash_password(password), user))
            if all_cameras is not None:
                link.execute("UPDATE users SET all_cameras = ? WHERE id = ?", (all_cameras, user))
                self._set_cameras(user, None if all_cameras else cameras or ())
            link.execute("DELETE FROM sessions WHERE user_id = ?", (user,))
            if disabled:
                link.execute("DELETE FROM tokens WHERE user_id = ?", (user,))
            asked = {"user": user, "role": role, "every camera": all_cameras, "disabled": disabled}
            asked |= {"password": "changed"} if password is not None else {}
            kept = {name: value for name, value in asked.items() if value is not None}
            audit.append(self._database, by.who, by.purpose, "user changed", kept, users=[user])
        return self.read(user)

    def read(self, user: int) -> Account:
        """Return a user by number."""
        query = "SELECT id, name, role, all_cameras, disabled FROM users WHERE id = ?"
        row = self._database.one(query, (user,))
        if row is None:
            raise UserError(f"user {user}", expected="a user", got="no such user", fix="Take one from the list.")
        return self._account(row)

    def log_in(self, name: str, password: str) -> tuple[str, Session] | None:
        """Return the secret of a new session, or None where name and password do not belong together."""
        row = self._database.one("SELECT id, password, disabled FROM users WHERE name = ?", (name,))
        right = verify_password(row[1] if row else _nobody(), password) and row is not None
        with self._database.writing() as link:
            if not right or row[2]:
                asked = {"user": row[0] if row else None}
                audit.append(self._database, "nobody", "", "login refused", asked)
                return None
            secret, csrf, now = secrets.token_urlsafe(32), secrets.token_urlsafe(24), self._database.clock()
            link.execute("DELETE FROM sessions WHERE expires < ? OR seen < ?", (now, now - IDLE_S))
            values = (_digest(secret), row[0], csrf, now, now, now + SESSION_S)
            link.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)", values)
            account = self.read(row[0])
            audit.append(self._database, account.name, "", "login", {"user": row[0]}, users=[row[0]])
        return secret, Session(account, csrf)

    def fits(self, user: int, password: str) -> bool:
        """Return whether a password is that of a user."""
        row = self._database.one("SELECT password FROM users WHERE id = ?", (user,))
        return row is not None and verify_password(row[0], password)

    def session(self, secret: str) -> Session | None:
        """Return whose session a secret is, or None if it has ended, or the clock was set back since."""
        row = self._database.one(
            "SELECT u.id, u.name, u.role, u.all_cameras, u.disabled, s.csrf, s.seen, s.expires FROM sessions s "
            "JOIN users u ON u.id = s.user_id WHERE s.hash = ?",
            (_digest(secret),),
        )
        now = self._database.clock()  # the last record may be of the future, where no session would end
        if row is None or row[4] or now >= row[7] or not -SEEN_EVERY_S <= now - row[6] < IDLE_S:
            return None
        if now > row[6] + SEEN_EVERY_S:
            with self._database.writing() as link:
                link.execute("UPDATE sessions SET seen = ? WHERE hash = ?", (now, _digest(secret)))
        return Session(self._account(row[:5]), row[5])

    def log_out(self, secret: str) -> None:
        """End a session."""
        found = self.session(secret)
        with self._database.writing() as link:
            link.execute("DELETE FROM sessions WHERE hash = ?", (_digest(secret),))
            if found:
                account = found.account
                audit.append(self._database, account.name, "", "logout", {"user": account.id}, users=[account.id])

    def make_token(self, user: int, name: str, *, days: float | None = None, by: Actor) -> str:
        """Return a new access token for a program that acts as a user; it cannot be shown again."""
        account = self.read(user)
        secret = f"rewho_{secrets.token_urlsafe(32)}"
        with self._database.writing() as link:
            now = self._database.now()
            expires = None if days is None else now + 86_400 * days
            link.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?)", (_digest(secret), user, name, now, expires))
            audit.append(self._database, by.who, by.purpose, "token made", {"user": account.id}, users=[user])
        return secret

    def tokens(self, user: int) -> Sequence[tuple[str, str, float, float | None]]:
        """Return the tokens of a user: short number, name, when made, when it ends."""
        query = "SELECT hash, name, created, expires FROM tokens WHERE user_id = ? ORDER BY created"
        return [(bytes(row[0]).hex()[:16], row[1], row[2], row[3]) for row in self._database.rows(query, (user,))]

    def drop_token(self, user: int, number: str, *, by: Actor) -> None:
        """End a token, known by its short number."""
        with self._database.writing() as link:
            query = "DELETE FROM tokens WHERE user_id = ? AND substr(lower(hex(hash)), 1, 16) = ?"
            if not link.execute(query, (user, number)).rowcount:
                fix = "Take one from the list."
                raise UserError("token", expected="a token of the user", got=repr(number)[:40], fix=fix)
            audit.append(self._database, by.who, by.purpose, "token ended", {"user": user}, users=[user])

    def token(self, secret: str) -> Account | None:
        """Return in whose name a token asks, or None if it is none."""
        row = self._database.one(
            "SELECT u.id, u.name, u.role, u.all_cameras, u.disabled, t.expires FROM tokens t "
            "JOIN users u ON u.id = t.user_id WHERE t.hash = ?",
            (_digest(secret),),
        )
        if row is None or row[4] or (row[5] is not None and self._database.now() >= row[5]):
            return None
        return self._account(row[:5])

    def first_admin(self) -> tuple[str, str] | None:
        """Make the first administrator of a gallery without users; return name and password, or None."""
        if self.list():
            return None
        password = "-".join(secrets.token_hex(3) for _ in range(4))
        made = self.create("admin", password, "admin", by=Actor("rewho serve", "first start"))
        return made.name, password

    def _admins(self) -> int:
        return sum(one.role == "admin" and not one.disabled for one in self.list())

    def _account(self, row: Any) -> Account:  # noqa: ANN401 - a row
        cameras = None
        if not row[3]:
            rows = self._database.rows("SELECT camera FROM user_cameras WHERE user_id = ?", (row[0],))
            cameras = frozenset(int(one[0]) for one in rows)
        return Account(int(row[0]), str(row[1]), str(row[2]), cameras, bool(row[4]))

    def _set_cameras(self, user: int, cameras: Sequence[str] | None) -> None:
        link = self._database.link
        link.execute("DELETE FROM user_cameras WHERE user_id = ?", (user,))
        for name in dict.fromkeys(cameras or ()):
            found = link.execute("SELECT id FROM cameras WHERE name = ?", (name,)).fetchone()
            if not found:
                fix = "The library lists the cameras."
                raise UserError("camera", expected="a camera of the gallery", got=repr(name)[:80], fix=fix)
            link.execute("INSERT INTO user_cameras VALUES (?, ?)", (user, found[0]))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        fix = "Write it like anna or anna.b@example.org."
        raise UserError("user name", expected="1 to 64 letters, digits, . _ @ + -", got=repr(name)[:80], fix=fix)


def check_password(password: str) -> str:
    """Return a new password if it is long enough; it is never repeated in a message."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        expected, got = f"{SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters", f"{len(password)}"
        raise UserError("password", expected=expected, got=got, fix="Several words in a row are easy to remember.")
    return password


@functools.cache
def _hasher() -> Any:  # noqa: ANN401 - argon2.PasswordHasher
    try:
        from argon2 import PasswordHasher
    except ImportError as error:
        fix = install("gallery")
        raise UserError("users", expected="the package argon2-cffi", got="none", fix=fix) from error
    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)  # OWASP's choice for Argon2id


def hash_password(password: str) -> str:
    """Return the Argon2id hash of a password, with its salt and parameters."""
    return str(_hasher().hash(password))


def verify_password(stored: str, password: str) -> bool:
    """Return whether a password belongs to a hash, in the same time for each wrong one."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    if len(password) > LONGEST_PASSWORD:
        return False
    try:
        return bool(_hasher().verify(stored, password))
    except (Argon2Error, InvalidHashError):
        return False


@functools.cache
def _nobody() -> str:
    """Return a hash that no password fits, so that unknown names take as long as known ones."""
    return hash_password(secrets.token_urlsafe(32))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()
