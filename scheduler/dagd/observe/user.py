"""The separate user of tasks and DAG files: found, and become. Only root can become another."""

from __future__ import annotations

import os
import pwd

from dagd.model.errors import InvalidSettings


def find_user(name: str) -> pwd.struct_passwd:
    """Whom `agent.run_as` names. Raises InvalidSettings when that cannot be done here."""
    try:
        found = pwd.getpwnam(name)
    except KeyError as error:
        raise InvalidSettings(f"agent.run_as = {name!r}: this machine has no such user") from error
    if found.pw_uid == 0:
        raise InvalidSettings("agent.run_as = root separates nothing", remedy="Name a user that has no other use.")
    if os.geteuid() != 0:
        raise InvalidSettings(
            f"agent.run_as = {name!r} needs dagd to run as root, and it is user {os.geteuid()}",
            remedy="Start it as root, or take the setting out: tasks then run as dagd does.",
        )
    return found


def become(name: str) -> None:
    """This process is that user from here on, for good; nothing when `name` is empty. Raises InvalidSettings."""
    if not name:
        return
    user = find_user(name)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
