"""Planning privileges: only differences become statements, and the right to grant on is taken with care."""

from strongroom.postgres.database_facts import Access, DatabaseFacts, DefaultAccess, Grant
from strongroom.postgres.default_privileges import default_statements, neutral_statements
from strongroom.postgres.privileges import access_statements, changes, held, with_maintain
from strongroom.postgres.roles import split_names

KEY = ("table", "public.t", "")
ALL = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def _sql(have: dict[str, dict[str, bool]], want: dict[str, dict[str, bool]]) -> list[str]:
    return [statement.sql for statement in changes(KEY, have, want)]


def test_equal_privileges_need_no_statement() -> None:
    """Nothing is revoked only to be granted again."""
    assert _sql({"anon": {"SELECT": False}}, {"anon": {"SELECT": False}}) == []


def test_what_is_too_much_is_revoked_and_what_lacks_is_granted() -> None:
    """Revoking comes first, and privileges are listed in one statement for each grantee."""
    have = {"": {"SELECT": False}, "anon": {"SELECT": False, "DELETE": False, "UPDATE": False}}
    want = {"anon": {"SELECT": False, "INSERT": False}, 'odd "role"': {"SELECT": True}}
    assert _sql(have, want) == [
        "REVOKE SELECT ON TABLE public.t FROM PUBLIC CASCADE",
        'REVOKE DELETE, UPDATE ON TABLE public.t FROM "anon" CASCADE',
        'GRANT INSERT ON TABLE public.t TO "anon"',
        'GRANT SELECT ON TABLE public.t TO "odd ""role""" WITH GRANT OPTION',
    ]


def test_the_right_to_grant_on_is_taken_by_revoking() -> None:
    """A privilege that is held with too much is taken and given again."""
    assert _sql({"anon": {"SELECT": True}}, {"anon": {"SELECT": False}}) == [
        'REVOKE SELECT ON TABLE public.t FROM "anon" CASCADE',
        'GRANT SELECT ON TABLE public.t TO "anon"',
    ]
    assert _sql({"anon": {"SELECT": False}}, {"anon": {"SELECT": True}}) == [
        'GRANT SELECT ON TABLE public.t TO "anon" WITH GRANT OPTION'
    ]


def test_column_privileges_name_their_column() -> None:
    """Each privilege on a column is followed by its quoted name."""
    made = changes(("column", "public.t", "a b"), {}, {"anon": {"SELECT": False, "UPDATE": False}})
    assert [s.sql for s in made] == ['GRANT SELECT ("a b"), UPDATE ("a b") ON TABLE public.t TO "anon"']


def test_who_held_everything_before_17_holds_maintain_after() -> None:
    """Only who held all seven privileges gets the eighth, and only if the source did not know it."""
    before = {"postgres": dict.fromkeys(ALL, False), "anon": {"SELECT": False}}
    after = with_maintain(before, source_major=16, destination_major=18)
    assert after == {"postgres": dict.fromkeys((*ALL, "MAINTAIN"), False), "anon": {"SELECT": False}}
    assert with_maintain(before, source_major=17, destination_major=18) == before
    assert with_maintain(before, source_major=15, destination_major=16) == before


def test_two_grantors_count_once() -> None:
    """What two roles granted is held once, with the right to grant on if either gave it."""
    grants = [
        Grant(grantee="anon", privilege="SELECT", grantor="a"),
        Grant(grantee="anon", privilege="SELECT", grantable=True, grantor="b"),
    ]
    assert held(grants) == {"anon": {"SELECT": True}}


def _facts(*access: Access, defaults: tuple[DefaultAccess, ...] = ()) -> DatabaseFacts:
    return DatabaseFacts(
        format=1,
        server_version=180000,
        system_identifier="1",
        database="d",
        reader="postgres",
        access=access,
        default_access=defaults,
    )


def test_an_owner_that_could_not_be_set_is_stood_for() -> None:
    """Where an object stays with the restoring role, that role keeps the owner's privileges."""
    wanted = Access(
        kind="table",
        identity="public.t",
        owner="supabase_admin",
        grants=(
            Grant(grantee="supabase_admin", privilege="SELECT"),
            Grant(grantee="anon", privilege="SELECT"),
        ),
    )
    present = Access(
        kind="table",
        identity="public.t",
        owner="postgres",
        grants=(Grant(grantee="postgres", privilege="SELECT"),),
    )
    roles = frozenset({"postgres", "supabase_admin", "anon"})
    made = access_statements(_facts(wanted), [present], destination_major=18, roles=roles, columns=False)
    assert [s.sql for s in made] == ['GRANT SELECT ON TABLE public.t TO "anon"']


def test_neutral_defaults_leave_the_owner_alone() -> None:
    """While a restore runs, what its role makes is its own; the platform's schemas are not touched."""
    current = [
        DefaultAccess(
            role="postgres",
            schema="public",
            kind="TABLES",
            grants=(Grant(grantee="anon", privilege="SELECT"),),
        ),
        DefaultAccess(
            role="postgres",
            schema="storage",
            kind="TABLES",
            grants=(Grant(grantee="anon", privilege="SELECT"),),
        ),
        DefaultAccess(
            role="supabase_admin",
            schema="public",
            kind="TABLES",
            grants=(Grant(grantee="anon", privilege="SELECT"),),
        ),
    ]
    assert [s.sql for s in neutral_statements(current, "postgres", destination_major=18)] == [
        'ALTER DEFAULT PRIVILEGES FOR ROLE "postgres" REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC CASCADE',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "postgres" IN SCHEMA "public" REVOKE SELECT ON TABLES FROM "anon" CASCADE',
    ]


def test_defaults_become_the_backups_and_the_platforms_are_named() -> None:
    """An entry that the backup lacks goes back to Postgres's default; a platform role's is only a finding."""
    current = [
        DefaultAccess(
            role="postgres",
            schema="",
            kind="FUNCTIONS",
            grants=(Grant(grantee="postgres", privilege="EXECUTE"),),
        ),
        DefaultAccess(
            role="supabase_admin",
            schema="public",
            kind="TABLES",
            grants=(Grant(grantee="anon", privilege="SELECT"),),
        ),
    ]
    roles = frozenset({"postgres", "supabase_admin", "anon"})
    made, findings = default_statements(
        _facts(), current, restoring_role="postgres", destination_major=18, roles=roles
    )
    assert [s.sql for s in made] == [
        'ALTER DEFAULT PRIVILEGES FOR ROLE "postgres" GRANT EXECUTE ON FUNCTIONS TO PUBLIC'
    ]
    assert [(f.severity, f.object) for f in findings] == [
        ("warning", "default privileges of supabase_admin on tables in schema public")
    ]


def test_a_list_of_names_is_taken_apart_as_postgres_does() -> None:
    """Commas and doubled quotes within quotes belong to the name."""
    assert split_names('"$user", public,  "we,ird ""name""", extensions') == [
        "$user",
        "public",
        'we,ird "name"',
        "extensions",
    ]
    assert split_names('""') == []
