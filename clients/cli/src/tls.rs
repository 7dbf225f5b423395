//! The options of mutual TLS: how this client proves who it is.

use std::path::PathBuf;

use clap::{ArgMatches, Args, parser::ValueSource};
use credentials::{ClientTls, all_or_none};

#[derive(Args, Debug)]
pub struct Tls {
    /// File with this client's certificate, in PEM. With it, calls are made over mutual TLS.
    #[arg(
        long = "tls-cert",
        global = true,
        env = "USERS_TLS_CERT",
        value_name = "FILE"
    )]
    cert: Option<PathBuf>,

    /// File with the private key of the certificate, in PEM. It may be the same file.
    #[arg(
        long = "tls-key",
        global = true,
        env = "USERS_TLS_KEY",
        value_name = "FILE"
    )]
    key: Option<PathBuf>,

    /// File with the CAs that sign the service's certificate, in PEM.
    #[arg(
        long = "tls-ca",
        global = true,
        env = "USERS_TLS_CA",
        value_name = "FILE"
    )]
    ca: Option<PathBuf>,
}

impl Tls {
    /// Reads the files, if there are some. Errors name them as they were given in `matches`: by option or by
    /// variable.
    pub fn client(&self, matches: &ArgMatches) -> anyhow::Result<Option<ClientTls>> {
        let given_by = |id, source| matches.value_source(id) == Some(source);
        let by_options = ["cert", "key", "ca"]
            .iter()
            .any(|id| given_by(id, ValueSource::CommandLine));
        let name = |id, option, variable| {
            let is_variable = given_by(id, ValueSource::EnvVariable) || !by_options;
            if is_variable { variable } else { option }
        };
        let files = all_or_none([
            (
                name("cert", "--tls-cert", "USERS_TLS_CERT"),
                self.cert.as_ref(),
            ),
            (name("key", "--tls-key", "USERS_TLS_KEY"), self.key.as_ref()),
            (name("ca", "--tls-ca", "USERS_TLS_CA"), self.ca.as_ref()),
        ]);
        files?.map(ClientTls::mutual).transpose()
    }
}
