//! A directory's users: those of the configuration, and those that signed up since.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::pbkdf2;
use uuid::Uuid;

use crate::config::UserConfig;

/// Users that a directory has room for; a sign-up beyond it is refused.
const CAPACITY: usize = 100_000;
/// Few, because these passwords live as long as the process and protect nothing.
const ITERATIONS: std::num::NonZeroU32 = std::num::NonZeroU32::new(1000).unwrap();

/// One user.
#[derive(Debug)]
pub(crate) struct User {
    /// What callouts say about the user.
    pub(crate) profile: UserConfig,
    credentials: Mutex<Credentials>,
}

#[derive(Debug, Default)]
struct Credentials {
    password: Option<Hash>,
    needs_migration: bool,
}

/// A password that can be compared and not read.
struct Hash {
    salt: Uuid,
    value: [u8; 32],
}

/// All users of a directory.
#[derive(Debug, Default)]
pub(crate) struct Users {
    users: RwLock<Vec<Arc<User>>>,
}

// === impl User ===

impl User {
    pub(crate) fn new(mut profile: UserConfig) -> Self {
        let password = profile.password.take().map(|password| Hash::new(password.reveal()));
        let credentials = Credentials {
            password,
            needs_migration: profile.needs_migration,
        };
        Self {
            profile,
            credentials: Mutex::new(credentials),
        }
    }

    /// Whether the password is the stored one; false when none is stored.
    pub(crate) fn has_password(&self, candidate: &str) -> bool {
        self.with(|credentials| {
            credentials
                .password
                .as_ref()
                .is_some_and(|stored| stored.matches(candidate))
        })
    }

    /// Whether another password than the stored one is shown to an extension.
    pub(crate) fn needs_migration(&self) -> bool {
        self.with(|credentials| credentials.needs_migration)
    }

    /// The stored password was used: there is nothing to migrate.
    pub(crate) fn set_migrated(&self) {
        self.with(|credentials| credentials.needs_migration = false);
    }

    /// Stores a password, after which there is nothing to migrate.
    pub(crate) fn migrate(&self, password: &str) {
        let hash = Hash::new(password);
        self.with(|credentials| {
            credentials.password = Some(hash);
            credentials.needs_migration = false;
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut Credentials) -> T) -> T {
        change(&mut self.credentials.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Users ===

impl Users {
    pub(crate) fn new(configured: &[UserConfig]) -> Self {
        let users = configured.iter().cloned().map(|profile| Arc::new(User::new(profile)));
        Self {
            users: RwLock::new(users.collect()),
        }
    }

    /// By object id, mail or user principal name; the last two without letter case.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<User>> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        find(&users, name).cloned()
    }

    /// Adds a user, unless there is one with the same mail or no room.
    pub(crate) fn add(&self, user: User) -> Result<Arc<User>, &'static str> {
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        if user
            .profile
            .mail
            .as_deref()
            .is_some_and(|mail| find(&users, mail).is_some())
        {
            return Err("another user has this address");
        }
        if users.len() >= CAPACITY {
            return Err("the directory is full");
        }
        let user = Arc::new(user);
        users.push(Arc::clone(&user));
        Ok(user)
    }
}

fn find<'a>(users: &'a [Arc<User>], name: &str) -> Option<&'a Arc<User>> {
    let id = Uuid::try_parse(name).ok();
    let is = |value: &Option<String>| value.as_ref().is_some_and(|value| value.eq_ignore_ascii_case(name));
    users
        .iter()
        .find(|user| Some(user.profile.id) == id || is(&user.profile.user_principal_name) || is(&user.profile.mail))
}

// === impl Hash ===

impl Hash {
    fn new(password: &str) -> Self {
        let (salt, mut value) = (Uuid::new_v4(), [0; 32]);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ITERATIONS,
            salt.as_bytes(),
            password.as_bytes(),
            &mut value,
        );
        Self { salt, value }
    }

    fn matches(&self, candidate: &str) -> bool {
        let (salt, candidate) = (self.salt.as_bytes(), candidate.as_bytes());
        pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, candidate, &self.value).is_ok()
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Hash(..)")
    }
}
