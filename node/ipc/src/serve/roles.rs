//! Roles by kernel peer credentials.
//!
//! The node's own user, root and the group `opus-admin` are `admin`; the group `opus` is `app`.
//! Groups are read from `/etc/group`, so members known to a directory service only are not seen;
//! their primary group is, because the kernel tells it.

use std::{fs, path::Path};

use super::Peer;
use crate::message::Role;

/// Group whose members are admins.
const GROUP_ADMIN: &str = "opus-admin";

/// Group whose members may use applications.
const GROUP_APP: &str = "opus";

/// Who is who on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    own_uid: u32,
    passwd: String,
    group: String,
}

impl Roles {
    /// For a node that runs as `own_uid`, with the content of `/etc/passwd` and `/etc/group`.
    pub fn new(own_uid: u32, passwd: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            own_uid,
            passwd: passwd.into(),
            group: group.into(),
        }
    }

    /// This process's user and this machine's groups; a file that cannot be read has no members.
    #[cfg(unix)]
    pub fn of_this_machine() -> Self {
        let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
        let own_uid = rustix::process::geteuid().as_raw();
        Self::new(own_uid, read("/etc/passwd"), read("/etc/group"))
    }

    /// The peer with these credentials; `None` for others, whom the file mode should keep out.
    pub fn peer(&self, uid: u32, gid: u32, pid: Option<i32>) -> Option<Peer> {
        let role = if uid == self.own_uid || uid == 0 || self.member(uid, gid, GROUP_ADMIN) {
            Role::Admin
        } else if self.member(uid, gid, GROUP_APP) {
            Role::App
        } else {
            return None;
        };
        Some(Peer {
            role,
            uid: Some(uid),
            pid,
            scope: None,
        })
    }

    fn member(&self, uid: u32, gid: u32, group: &str) -> bool {
        let line = |line: &&str| line.split(':').next() == Some(group);
        let Some(line) = self.group.lines().find(line) else {
            return false;
        };
        let mut fields = line.split(':').skip(2);
        let id = fields.next().and_then(|id| id.parse().ok());
        let members = fields.next().unwrap_or_default();
        id == Some(gid)
            || self
                .user(uid)
                .is_some_and(|user| members.split(',').any(|member| member == user))
    }

    fn user(&self, uid: u32) -> Option<&str> {
        self.passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let id: u32 = fields.nth(1)?.parse().ok()?;
            (id == uid).then_some(name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles() -> Roles {
        Roles::new(
            1000,
            "root:x:0:0::/root:/bin/sh\nann:x:1001:1001::/:\n\
             ben:x:1002:1002::/:\neve:x:1003:7::/:\n",
            "root:x:0:\nopus-admin:x:90:ann,zoe\nopus:x:91:ben\n",
        )
    }

    fn role(uid: u32, gid: u32) -> Option<Role> {
        roles().peer(uid, gid, Some(1)).map(|peer| peer.role)
    }

    #[test]
    fn the_nodes_user_root_and_opus_admin_are_admins() {
        assert_eq!(role(1000, 5), Some(Role::Admin));
        assert_eq!(role(0, 0), Some(Role::Admin));
        assert_eq!(role(1001, 1001), Some(Role::Admin));
        assert_eq!(role(1003, 90), Some(Role::Admin));
    }

    #[test]
    fn the_group_opus_is_app_and_strangers_are_nobody() {
        assert_eq!(role(1002, 1002), Some(Role::App));
        assert_eq!(role(1003, 91), Some(Role::App));
        assert_eq!(role(1003, 7), None);
        assert_eq!(role(4242, 4242), None);
    }
}
