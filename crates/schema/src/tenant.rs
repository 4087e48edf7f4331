use std::fmt;
use std::sync::Arc;

/// A tenant: the owner of data and the first component of every key.
///
/// 1 to 64 characters of `a-z A-Z 0-9 - _ .`, not starting with a dot, so that it is safe in an object path on
/// every store. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// Why a text is not a tenant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid tenant {0:?}: use 1 to 64 of the characters a-z A-Z 0-9 - _ . and do not start with a dot")]
pub struct InvalidTenant(pub String);

impl TenantId {
    /// The tenant of requests that name none.
    pub const DEFAULT: &'static str = "default";

    /// Parses a tenant, as `X-Scope-OrgID` carries it.
    ///
    /// # Errors
    /// [`InvalidTenant`] when the text breaks the rules above.
    pub fn parse(text: &str) -> Result<Self, InvalidTenant> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 64 || text.starts_with('.') || !text.chars().all(legal) {
            return Err(InvalidTenant(text.chars().take(80).collect()));
        }
        Ok(Self(text.into()))
    }

    /// The text of the tenant.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        for good in ["default", "a", "Team-1_x.y"] {
            assert_eq!(TenantId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "ü", "a b", &"x".repeat(65)] {
            assert!(TenantId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
