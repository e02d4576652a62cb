//! Who may enter.
#[derive(Clone, Debug, Default)]
pub struct ScramUsers;
impl From<&crate::config::AuthConfig> for ScramUsers {
    fn from(_: &crate::config::AuthConfig) -> Self {
        ScramUsers
    }
}
impl ScramUsers {
    pub fn is_empty(&self) -> bool {
        true
    }
}
#[derive(Debug)]
pub struct ScramServer;
#[derive(Debug)]
pub enum ScramError {
    NotAuthorized,
    X,
}
impl ScramServer {
    pub fn start(
        _: &[u8],
        _: &ScramUsers,
        _: &[u8],
        _: &[u8],
    ) -> Result<(ScramServer, Vec<u8>), ScramError> {
        Err(ScramError::X)
    }
    pub fn finish(self, _: &[u8]) -> Result<(String, Vec<u8>), ScramError> {
        Err(ScramError::NotAuthorized)
    }
}
