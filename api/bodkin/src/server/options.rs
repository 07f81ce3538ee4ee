//! Where a server keeps its data and listens.

use anyhow::bail;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Listeners and data folder of `bodkin server` and `bodkin up`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// Folder for everything that is kept; made when missing, may hold foreign files
    #[arg(long, value_name = "DIR", default_value = "./bodkin-data")]
    pub(crate) data_dir: PathBuf,
    /// Where tables are kept: s3://BUCKET/PREFIX; credentials and endpoint from AWS_* variables [default: the data folder]
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Address of the HTTP listener; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9470")]
    pub(crate) http: SocketAddr,
    /// Address of the Flight listener; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9471")]
    pub(crate) flight: SocketAddr,
    /// Configuration, YAML; the graph in it is read again at SIGHUP
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen beyond loopback although nobody is asked for credentials
    #[arg(long)]
    pub(crate) insecure: bool,
}

impl ServerArgs {
    /// Refuses what would open the server to the network unasked.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        for (flag, address) in [("--http", self.http), ("--flight", self.flight)] {
            if !address.ip().is_loopback() && !self.insecure {
                bail!(
                    "{flag} {address} is reachable from other hosts and asks for no credentials: listen on 127.0.0.1, \
                     or add --insecure if the network in front is trusted"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(http: &str, insecure: bool) -> ServerArgs {
        let flight = "127.0.0.1:0".parse().unwrap();
        let data_dir = "x".into();
        ServerArgs { data_dir, store: None, http: http.parse().unwrap(), flight, config: None, insecure }
    }

    #[test]
    fn only_loopback_unless_told() {
        assert!(args("127.0.0.1:1", false).validate().is_ok());
        assert!(args("[::1]:1", false).validate().is_ok());
        assert!(args("0.0.0.0:1", true).validate().is_ok());
        let error = args("0.0.0.0:9470", false).validate().unwrap_err().to_string();
        assert!(error.contains("--http 0.0.0.0:9470") && error.contains("--insecure"), "{error}");
    }
}
