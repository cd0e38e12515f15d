"""Custom roles at a destination: made or altered to match, their memberships and settings made exact.

Passwords cannot be read at the source and are not restored. For example:

    findings = restore_roles(connection, facts)
    belong_to_owners(connection, facts)       # for a while, so that objects can be given to their owners
    findings += restore_memberships(connection, facts)
    findings += restore_settings(connection, facts)
"""

from strongroom.format.documents import Finding
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.database_facts import DatabaseFacts, Membership, Role, Setting
from strongroom.postgres.digest import quote_identifier, quote_literal
from strongroom.postgres.facts_reading import read_memberships, read_roles, read_settings
from strongroom.postgres.statements import Statement, attempt_all, run

_OPTIONS_SINCE = 16
# Values of these are lists of names, which ALTER … SET takes apart only if they are given apart.
_LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
_SETTABLE_ROLES = frozenset({"anon", "authenticated", "authenticator", "postgres", "service_role"})


def role_names(connection: Connection) -> frozenset[str]:
    """Return the names of all roles of the server."""
    with translated("roles"):
        return frozenset(name for (name,) in connection.execute("SELECT rolname FROM pg_roles"))


def restore_roles(connection: Connection, facts: DatabaseFacts) -> tuple[Finding, ...]:
    """Make the roles that are missing and alter those that differ; name who needs a new password."""
    with translated("roles"):
        present = {role.name: role for role in read_roles(connection)}
    findings: list[Finding] = []
    for role in facts.roles:
        have = present.get(role.name)
        if have is None:
            run(connection, Statement(f"role {role.name}", f"CREATE ROLE {_options(role)}"))
            if role.login:
                findings.append(_needs_password(role))
        elif _plain(have) != _plain(role):
            findings += attempt_all(
                connection,
                [Statement(f"role {role.name}", f"ALTER ROLE {_options(role)}")],
                code="role-differs",
            )
        findings += attempt_all(connection, _privileged(role, have), code="role-differs")
    return tuple(findings)


def _plain(role: Role) -> tuple[object, ...]:
    return (
        role.inherit,
        role.login,
        role.create_role,
        role.create_database,
        role.connection_limit,
        role.valid_until,
    )


def _options(role: Role) -> str:
    """Return name and attributes, but those that only some may give."""
    flags = {
        "INHERIT": role.inherit,
        "LOGIN": role.login,
        "CREATEROLE": role.create_role,
        "CREATEDB": role.create_database,
    }
    words = [name if is_set else f"NO{name}" for name, is_set in flags.items()]
    words.append(f"CONNECTION LIMIT {role.connection_limit}")
    if role.valid_until:
        words.append(f"VALID UNTIL {quote_literal(role.valid_until)}")
    return f"{quote_identifier(role.name)} WITH {' '.join(words)}"


def _privileged(role: Role, have: Role | None) -> list[Statement]:
    """Return a statement for each attribute that differs and which not every role may give."""
    name = quote_identifier(role.name)
    flags = {
        "SUPERUSER": (role.superuser, have.superuser if have else False),
        "REPLICATION": (role.replication, have.replication if have else False),
        "BYPASSRLS": (role.bypass_rls, have.bypass_rls if have else False),
    }
    found = [
        Statement(f"role {role.name}", f"ALTER ROLE {name} {'' if wanted else 'NO'}{flag}")
        for flag, (wanted, observed) in flags.items()
        if wanted != observed
    ]
    if role.comment != (have.comment if have else ""):
        comment = quote_literal(role.comment) if role.comment else "NULL"
        found.append(Statement(f"role {role.name}", f"COMMENT ON ROLE {name} IS {comment}"))
    return found


def _needs_password(role: Role) -> Finding:
    return Finding(
        severity="warning",
        code="role-password-missing",
        object=f"role {role.name}",
        expected="the password that it had",
        observed="made without one, since passwords cannot be read at the source",
        advice=f"Give it one: ALTER ROLE {quote_identifier(role.name)} PASSWORD '…'",
    )


# ---------------------------------------------------------------- memberships


def belong_to_owners(connection: Connection, facts: DatabaseFacts) -> None:
    """Make this session's role a member of every custom role that owns something, for the time being.

    `restore_memberships` takes it back.
    """
    custom = {role.name for role in facts.roles}
    owners = {a.owner for a in facts.access} | {d.role for d in facts.default_access}
    with translated("role memberships"):
        mine = {
            role
            for (role,) in connection.execute(
                "SELECT rolname FROM pg_roles WHERE pg_has_role(current_user, oid, 'USAGE')"
            )
        }
    option = " WITH INHERIT TRUE, SET TRUE" if _major(connection) >= _OPTIONS_SINCE else ""
    for owner in sorted((owners & custom) - mine):
        run(
            connection, Statement(f"role {owner}", f"GRANT {quote_identifier(owner)} TO CURRENT_USER{option}")
        )


def restore_memberships(connection: Connection, facts: DatabaseFacts) -> tuple[Finding, ...]:
    """Make the memberships of custom roles exactly the backup's, and those that the user gave to others."""
    custom = {role.name for role in facts.roles}
    roles = role_names(connection)
    with translated("role memberships"):
        present = [m for m in read_memberships(connection) if m.role in custom or m.member in custom]
    wanted = [m for m in facts.memberships if {m.role, m.member} <= roles]
    has_options = _major(connection) >= _OPTIONS_SINCE
    extra = [
        Statement(f"membership of {m.member} in {m.role}", f"REVOKE {_pair(m, 'FROM')}")
        for m in present
        if not any(_equal(m, w) for w in wanted)
    ]
    lacking = [
        Statement(
            f"membership of {m.member} in {m.role}",
            f"GRANT {_pair(m, 'TO')}{_with(m, has_options=has_options)}",
        )
        for m in wanted
        if not any(_equal(m, p) for p in present)
    ]
    findings = attempt_all(connection, extra, code="membership-differs")
    return findings + attempt_all(connection, lacking, code="membership-differs")


def _pair(membership: Membership, word: str) -> str:
    return f"{quote_identifier(membership.role)} {word} {quote_identifier(membership.member)}"


def _equal(one: Membership, other: Membership) -> bool:
    """Compare memberships; options that an older server did not have are not compared."""
    if (one.role, one.member, one.admin) != (other.role, other.member, other.admin):
        return False
    pairs = ((one.inherit, other.inherit), (one.set_role, other.set_role))
    return all(a == b for a, b in pairs if a is not None and b is not None)


def _with(membership: Membership, *, has_options: bool) -> str:
    if not has_options or membership.inherit is None or membership.set_role is None:
        return " WITH ADMIN OPTION" if membership.admin else ""
    words = {"ADMIN": membership.admin, "INHERIT": membership.inherit, "SET": membership.set_role}
    return " WITH " + ", ".join(f"{word} {str(value).upper()}" for word, value in words.items())


# ---------------------------------------------------------------- settings


def restore_settings(connection: Connection, facts: DatabaseFacts) -> tuple[Finding, ...]:
    """Set what roles and the database had set; the platform's own roles keep what the destination gives them."""
    custom = {role.name for role in facts.roles}
    with translated("settings"):
        present = set(read_settings(connection))
        row = connection.execute("SELECT current_database()").fetchone()
    database = quote_identifier(str(row[0]) if row else "")
    statements = [
        Statement(_setting_name(s), _setting_sql(s, database), is_secret=True)
        for s in facts.settings
        if s not in present and (not s.role or s.role in custom or s.role in _SETTABLE_ROLES)
    ]
    return attempt_all(connection, statements, code="setting-not-restored")


def _setting_name(setting: Setting) -> str:
    of = f"role {setting.role}" if setting.role else "the database"
    return f"setting {setting.name} of {of}"


def _setting_sql(setting: Setting, database: str) -> str:
    of = f"DATABASE {database}"
    if setting.role:
        of = f"ROLE {quote_identifier(setting.role)}"
    elif not setting.in_database:
        of = "ROLE ALL"
    where = f" IN DATABASE {database}" if setting.role and setting.in_database else ""
    name = ".".join(quote_identifier(part) for part in setting.name.split("."))
    return f"ALTER {of}{where} SET {name} TO {_value(setting)}"


def _value(setting: Setting) -> str:
    if setting.name.lower() not in _LISTS:
        return quote_literal(setting.value)
    return ", ".join(quote_literal(item) for item in split_names(setting.value)) or "''"


def split_names(value: str) -> list[str]:
    """Take a list of names apart: by commas, but not within double quotes."""
    names, name, is_quoted = [""], "", False
    for character in value:
        if character == '"':
            # A doubled quote stands for one.
            if not is_quoted and name.endswith('"'):
                names[-1] += '"'
            is_quoted = not is_quoted
            name = '"'
        elif character == "," and not is_quoted:
            names.append("")
            name = ""
        else:
            names[-1] += character if is_quoted else character.strip()
            name = ""
    return [item for item in names if item]


def _major(connection: Connection) -> int:
    return connection.info.server_version // 10000
