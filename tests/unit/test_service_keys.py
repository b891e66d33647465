"""Keys: who may be disabled and by whom, what a revoked one takes along, what is purged."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from shipway.domain.actor import Actor, Key, Role
from shipway.domain.errors import Conflict, Exists, Forbidden, Invalid, NotFound, Unauthenticated
from shipway.domain.ids import KEY_SECRET_LENGTH, split_key
from shipway.domain.item import Event
from shipway.server.app import SystemClock, build_service
from shipway.server.first_key import adopt_key
from shipway.service.keys import IDLE_MS, LINK_MS, SEEN_EVERY_MS, job_key
from shipway.store.open import open_store
from tests.unit.conftest import World


@pytest.mark.parametrize("name", ["root", "Root"])
def test_nobody_disables_themselves(world: World, name: str) -> None:
    keys = world.service.keys
    with pytest.raises(Conflict, match="only another admin"):
        world.do(lambda tx: keys.set_disabled(tx, world.root, name, is_disabled=True))
    assert world.do(lambda tx: keys.authenticate(tx, world.admin_key)) == world.root


def test_one_admin_disables_another(world: World) -> None:
    other = world.person("zoe", Role.ADMIN)
    keys = world.service.keys
    found = world.do(lambda tx: keys.set_disabled(tx, other, "root", is_disabled=True))
    assert found.is_disabled
    back = world.do(lambda tx: keys.set_disabled(tx, other, "root", is_disabled=False))
    assert not back.is_disabled


def test_a_revoked_key_of_the_embedded_home_is_replaced_by_a_fresh_one(
    world: World, tmp_path: Path
) -> None:
    keys, file = world.service.keys, tmp_path / "key"
    first = f"sw_own-{'0' * KEY_SECRET_LENGTH}"
    file.write_text(first)
    assert world.do(lambda tx: keys.adopt(tx, "root", first)) == first
    assert world.do(lambda tx: keys.adopt(tx, "root", first)) == first
    world.do(lambda tx: keys.revoke(tx, world.root, "own"))
    fresh = world.do(lambda tx: keys.adopt(tx, "root", first))
    assert fresh != first
    assert world.do(lambda tx: keys.authenticate(tx, fresh)).user == "root"
    with pytest.raises(Unauthenticated):
        world.do(lambda tx: keys.authenticate(tx, first))


def test_the_fresh_key_is_written_over_the_revoked_one(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with closing(open_store(f"sqlite:///{tmp_path}/shipway.db", migrate=True)) as store:
        keys = build_service(SystemClock()).keys
        adopt_key(store, keys, file, name="admin")
        first = file.read_text().strip()
        parts = split_key(first)
        assert parts is not None
        store.write(lambda tx: tx.actors.revoke(parts[0], now=1)).result()
        adopt_key(store, keys, file, name="admin")
        fresh = file.read_text().strip()
        assert fresh != first
        assert file.stat().st_mode & 0o777 == 0o600
        with store.read() as tx:
            assert keys.authenticate(tx, fresh).user == "admin"


def test_what_lets_nobody_in_is_purged(world: World) -> None:
    keys = world.service.keys
    idle = world.do(lambda tx: keys.sign_in(tx, world.admin_key))
    link = world.do(lambda tx: keys.make_link(tx, world.root))
    world.clock.advance(LINK_MS)
    assert world.do(keys.purge) == 1
    with pytest.raises(Unauthenticated):
        world.do(lambda tx: keys.take_link(tx, link))
    world.clock.advance(IDLE_MS)
    live = world.do(lambda tx: keys.sign_in(tx, world.admin_key))
    assert world.do(keys.purge) == 1
    assert world.do(keys.purge) == 0
    with pytest.raises(Unauthenticated):
        world.do(lambda tx: keys.session(tx, idle))
    assert world.do(lambda tx: keys.session(tx, live))[0] == world.root


REFUSED = "the key is not valid: it is unknown, revoked, or its user is disabled"


def make_key(
    world: World, who: Actor, *, user: str | None = None, role: str | None = None, label: str = ""
) -> tuple[Key, str]:
    create = world.service.keys.create_key
    return world.do(lambda tx: create(tx, who, user=user, role=role, label=label))


def holder(world: World, key: str) -> Actor:
    return world.do(lambda tx: world.service.keys.authenticate(tx, key))


def test_a_key_says_who_holds_it_until_it_is_revoked(world: World) -> None:
    key, text = make_key(world, world.ann, label="laptop")
    assert (key.user, key.role, key.label) == ("ann", Role.MEMBER, "laptop")
    assert holder(world, text) == Actor(
        user=world.ann.user, role=Role.MEMBER, entity="ann", key_id=key.id
    )
    gone = world.do(lambda tx: world.service.keys.revoke(tx, world.ann, key.id))
    assert gone.revoked_at == world.clock.now()
    with pytest.raises(Unauthenticated, match=REFUSED):
        holder(world, text)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "sw_a-short", "sw_nobody-" + "0" * 40, "sw_x-" + "\ud800" * 40]
)
def test_a_key_that_nobody_has_is_refused(world: World, text: str) -> None:
    with pytest.raises(Unauthenticated, match=REFUSED):
        holder(world, text)


def test_a_key_with_another_secret_is_refused(world: World) -> None:
    _, text = make_key(world, world.ann)
    last = "0" if text[-1] != "0" else "1"
    with pytest.raises(Unauthenticated, match=REFUSED):
        holder(world, text[:-1] + last)


def test_the_keys_of_a_disabled_user_are_refused(world: World) -> None:
    _, text = make_key(world, world.ann)
    actor, keys = holder(world, text), world.service.keys
    world.do(lambda tx: keys.check(tx, actor))
    world.do(lambda tx: keys.set_disabled(tx, world.root, "ann", is_disabled=True))
    with pytest.raises(Unauthenticated, match=REFUSED):
        holder(world, text)
    with pytest.raises(Unauthenticated, match=REFUSED):
        world.do(lambda tx: keys.check(tx, actor))
    world.do(lambda tx: keys.set_disabled(tx, world.root, "ann", is_disabled=False))
    assert holder(world, text) == actor
    with pytest.raises(NotFound, match=r"^there is no user 'nobody'"):
        world.do(lambda tx: keys.set_disabled(tx, world.root, "nobody", is_disabled=True))


def test_nobody_makes_a_key_with_more_rights_than_their_own(world: World) -> None:
    viewer = replace(world.ann, role=Role.VIEWER)
    assert make_key(world, world.ann, role="member")[0].role is Role.MEMBER
    assert make_key(world, world.ann, role="agent")[0].role is Role.AGENT
    assert make_key(world, viewer, role="viewer")[0].role is Role.VIEWER
    for who, role, most in ((world.ann, "admin", "member"), (viewer, "agent", "viewer")):
        with pytest.raises(Invalid, match=f"role {role} is more than ann's own, {most}") as refused:
            make_key(world, who, role=role)
        assert refused.value.details == {"field": "role", "value": role}


def test_admins_make_keys_of_others_up_to_what_these_may(world: World) -> None:
    key, text = make_key(world, world.root, user="ann")
    assert (key.user, key.role) == ("ann", Role.MEMBER)
    assert holder(world, text).user == "ann"
    with pytest.raises(Invalid, match="role admin is more than ann's own, member"):
        make_key(world, world.root, user="ann", role="admin")
    with pytest.raises(NotFound, match=r"^there is no user 'nobody'"):
        make_key(world, world.root, user="nobody")
    with pytest.raises(Forbidden, match="make keys of others"):
        make_key(world, world.ann, user="bob")
    assert make_key(world, world.ann, user="ann")[0].user == "ann"


@pytest.mark.parametrize(
    ("values", "field"),
    [({"role": "job"}, "role"), ({"role": "boss"}, "role"), ({"label": "a\n"}, "label")],
)
def test_a_bad_key_is_refused(world: World, values: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        make_key(world, world.ann, **values)
    assert refused.value.details["field"] == field


def test_people_see_and_revoke_their_own_keys(world: World) -> None:
    keys = world.service.keys
    mine, other = make_key(world, world.ann)[0], make_key(world, world.bob)[0]
    assert world.do(lambda tx: keys.keys(tx, world.ann)) == [mine]
    everybodys = {key.id for key in world.do(lambda tx: keys.keys(tx, world.root))}
    assert everybodys > {mine.id, other.id}
    with pytest.raises(NotFound, match=rf"^there is no key '{other.id}'"):
        world.do(lambda tx: keys.revoke(tx, world.ann, other.id))
    assert world.do(lambda tx: keys.revoke(tx, world.root, other.id)).revoked_at is not None


def test_users_are_added_with_a_queue_and_listed(world: World) -> None:
    keys = world.service.keys
    made = world.do(
        lambda tx: keys.create_user(tx, world.root, name="zoe", role="viewer", entity="team")
    )
    assert (made.name, made.role, made.entity, made.is_disabled) == (
        "zoe", Role.VIEWER, "team", False,
    )  # fmt: skip
    assert made.created_at == world.clock.now()
    assert made in world.do(lambda tx: keys.users(tx, world.root))
    queue = world.do(
        lambda tx: world.service.queues.named(tx, world.root, "default", entity="team")
    )
    assert queue.created_by == "zoe"
    for values, field in (
        ({"name": "-x", "role": "member"}, "name"),
        ({"name": "x", "role": "boss"}, "role"),
        ({"name": "x", "role": "member", "entity": "a/b"}, "entity"),
    ):
        with pytest.raises(Invalid) as refused:
            world.do(lambda tx, values=values: keys.create_user(tx, world.root, **values))
        assert refused.value.details["field"] == field


def test_the_first_admin_is_made_once(world: World) -> None:
    with pytest.raises(Exists, match=r"^the database has users already"):
        world.do(lambda tx: world.service.keys.bootstrap(tx, "other"))
    listed = world.do(lambda tx: world.service.keys.keys(tx, world.root))
    assert [key.label for key in listed if key.user == "root"] == ["first key"]


@pytest.mark.parametrize("text", ["nonsense", "sw_jitem-" + "0" * 40])
def test_a_file_without_a_persons_key_is_refused(world: World, text: str) -> None:
    with pytest.raises(Invalid, match=r"^the key file does not hold a key") as refused:
        world.do(lambda tx: world.service.keys.adopt(tx, "root", text))
    assert refused.value.details["field"] == "key"


def test_an_adopted_key_makes_its_owner(world: World) -> None:
    text = f"sw_own-{'0' * KEY_SECRET_LENGTH}"
    world.do(lambda tx: world.service.keys.adopt(tx, "owner", text))
    actor = holder(world, text)
    assert (actor.user, actor.role, actor.entity) == ("owner", Role.ADMIN, "owner")
    listed = world.do(lambda tx: world.service.keys.keys(tx, actor))
    assert {key.label for key in listed if key.user == "owner"} == {"embedded"}


def test_a_program_is_known_while_its_attempt_lasts(world: World) -> None:
    item_id, token = world.running()
    key = job_key(item_id, 1, token)
    actor = holder(world, key)
    assert (actor.role, actor.item_id, actor.attempt) == (Role.JOB, item_id, 1)
    assert (actor.user, actor.entity, actor.label) == ("ann", "ann", f"job:{item_id}")
    world.do(lambda tx: world.service.keys.check(tx, actor))  # its lease is checked elsewhere
    for wrong in (job_key(item_id, 2, token), f"sw_jnope-{'0' * KEY_SECRET_LENGTH}"):
        with pytest.raises(Unauthenticated, match=r"^the key is not valid: its attempt has ended"):
            holder(world, wrong)
    world.report(item_id, token, Event.FINISH, exit_code=0)
    with pytest.raises(Unauthenticated, match=r"^the key is not valid: its attempt has ended"):
        holder(world, key)


def test_a_session_ends_when_it_was_not_used_for_long(world: World) -> None:
    keys = world.service.keys
    cookie = world.do(lambda tx: keys.sign_in(tx, world.admin_key))
    world.clock.advance(IDLE_MS)
    actor, session = world.do(lambda tx: keys.session(tx, cookie))
    assert (actor, session.created_at) == (world.root, world.clock.now() - IDLE_MS)
    world.do(lambda tx: keys.seen(tx, session))
    world.clock.advance(IDLE_MS)
    assert world.do(lambda tx: keys.session(tx, cookie))[0] == world.root
    world.clock.advance(1)
    with pytest.raises(Unauthenticated, match=r"^the session is over: sign in again"):
        world.do(lambda tx: keys.session(tx, cookie))


def test_a_session_s_use_is_written_down_once_a_minute(world: World) -> None:
    keys = world.service.keys
    cookie = world.do(lambda tx: keys.sign_in(tx, world.admin_key))

    def seen_at() -> int:
        _, session = world.do(lambda tx: keys.session(tx, cookie))
        world.do(lambda tx: keys.seen(tx, session))
        return world.do(lambda tx: keys.session(tx, cookie))[1].seen_at

    began = seen_at()
    world.clock.advance(SEEN_EVERY_MS - 1)
    assert seen_at() == began
    world.clock.advance(1)
    assert seen_at() == began + SEEN_EVERY_MS


def test_a_session_ends_with_a_sign_out_or_with_its_key(world: World) -> None:
    keys = world.service.keys
    key, text = make_key(world, world.ann)
    first, second = (world.do(lambda tx: keys.sign_in(tx, text)) for _ in range(2))
    world.do(lambda tx: keys.sign_out(tx, first))
    with pytest.raises(Unauthenticated):
        world.do(lambda tx: keys.session(tx, first))
    assert world.do(lambda tx: keys.session(tx, second))[0].user == "ann"
    world.do(lambda tx: keys.revoke(tx, world.ann, key.id))
    with pytest.raises(Unauthenticated):
        world.do(lambda tx: keys.session(tx, second))


def test_an_agent_s_key_opens_no_page(world: World) -> None:
    _, text = make_key(world, world.ann, role="agent")
    with pytest.raises(Forbidden, match="may not sign in to the pages"):
        world.do(lambda tx: world.service.keys.sign_in(tx, text))


def test_a_sign_in_link_is_used_once_and_in_time(world: World) -> None:
    keys = world.service.keys
    key, text = make_key(world, world.ann)
    me = holder(world, text)
    links = [world.do(lambda tx: keys.make_link(tx, me)) for _ in range(3)]
    world.clock.advance(LINK_MS - 1)
    cookie = world.do(lambda tx: keys.take_link(tx, links[0]))
    assert world.do(lambda tx: keys.session(tx, cookie))[0] == me
    with pytest.raises(Unauthenticated, match=r"^the sign-in link was used or is older"):
        world.do(lambda tx: keys.take_link(tx, links[0]))
    world.do(lambda tx: keys.revoke(tx, world.ann, key.id))
    with pytest.raises(Unauthenticated):
        world.do(lambda tx: keys.take_link(tx, links[1]))
    world.clock.advance(1)
    with pytest.raises(Unauthenticated, match="older than five minutes"):
        world.do(lambda tx: keys.take_link(tx, links[2]))


def test_a_name_that_is_none_gets_no_key(world: World) -> None:
    text = f"sw_own-{'0' * KEY_SECRET_LENGTH}"
    with pytest.raises(Invalid) as refused:
        world.do(lambda tx: world.service.keys.adopt(tx, "a/b", text))
    assert refused.value.details == {"field": "name", "value": "a/b"}
