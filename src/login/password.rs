//! Users with passwords.

use super::remember::Remembered;
use crate::auth::{Login, Passwords, Verdict};

/// The users of a password file.
#[derive(Debug)]
pub(super) struct Users {
    passwords: Passwords,
    /// Found to be right before, so that a fleet that comes back does not hash for minutes.
    right: Remembered<()>,
}

impl Users {
    pub(super) fn new(passwords: Passwords) -> Users {
        Users { passwords, right: Remembered::new() }
    }

    pub(super) fn judge(&self, login: &Login) -> Verdict {
        let known = login.user.as_deref().and_then(|name| Some((name, self.passwords.get(name)?)));
        let Some((name, user)) = known else { return Verdict::Ignore };
        let Some(password) = &login.password else { return Verdict::Deny };
        let tag = self.right.tag([name.as_bytes(), password]);
        if self.right.get(&tag).is_none() {
            if !user.hash.verify(password) {
                return Verdict::Deny;
            }
            self.right.put(tag, (), None);
        }
        Verdict::Allow(user.identity.clone())
    }

    /// Takes as long as if the user existed. Who names none asks for nobody's existence.
    pub(super) fn judge_in_vain(&self, login: &Login) {
        if let (Some(user), Some(password), Some(_)) =
            (self.passwords.any(), &login.password, &login.user)
        {
            user.hash.verify(password);
        }
    }
}
