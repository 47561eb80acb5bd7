//! `phin cert`: a CA and its certificates, for clusters whose members are admitted one by one.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::Subcommand;
use phin::{
    Identity,
    certificates::{self, CertificateAuthority, CertificateDescription, Validity},
};

use crate::{
    failure::{Failure, with_causes},
    private_file,
    text::{escaped, rfc3339},
    text_file,
};

/// Create and show certificates, for a cluster that admits nodes one by one
#[derive(clap::Args)]
#[command(after_help = "Example:\n  phin cert ca\n  phin cert issue n1\n  \
                        phin run --name n1 --ca ca.pem --cert n1.pem --key n1.key")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a CA: ca.pem, which every node needs, and ca.key, which no node needs
    #[command(after_help = "Example:\n  phin cert ca --name 'phin production' --dir ca")]
    Ca {
        /// The name of the CA
        #[arg(long, default_value = "phin CA")]
        name: String,
        #[command(flatten)]
        made: Made,
        /// Validity in days, from now
        #[arg(long, default_value_t = CA_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Issue a certificate for a node: NAME.pem and its private key NAME.key
    ///
    /// The certificate assigns the node an id, which follows from the CA's key and the name: a node cannot choose it. So issue each
    /// name to one node only. If it is issued again, with a new private key, the node with the new key takes the place of the former.
    /// With the node's private key (--key), the certificate is only renewed, and the node can use it without a restart.
    #[command(after_help = "Examples:\n  phin cert issue n1 --ca ca/ca.pem --ca-key ca/ca.key\n  \
                            phin cert issue n1 --ca ca/ca.pem --ca-key ca/ca.key --key n1.key --dir new")]
    Issue {
        /// The node's name
        name: String,
        /// The CA's certificate
        #[arg(long, value_name = "FILE", default_value = "ca.pem")]
        ca: PathBuf,
        /// The CA's private key
        #[arg(long, value_name = "FILE", default_value = "ca.key")]
        ca_key: PathBuf,
        /// The node's private key, if it has one already; then only NAME.pem is written
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Assign no id: the node has the id of its key. For a CA whose key is not Ed25519, and for nodes of earlier releases
        #[arg(long)]
        no_assigned_id: bool,
        #[command(flatten)]
        made: Made,
        /// Validity in days, from now
        #[arg(long, default_value_t = NODE_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Issue a new certificate in place of an existing one, with the same name and id
    ///
    /// The private key stays the same too, unless --key names another one. With the same key, the node can use the certificate without
    /// a restart. If a new CA replaces the one that issued the certificate, --ca has the certificates of both, and --ca-key is the new
    /// CA's key.
    #[command(
        after_help = "Examples:\n  phin cert renew n1.pem --ca ca/ca.pem --ca-key ca/ca.key\n  \
                            phin cert renew n1.pem --ca both.pem --ca-key ca2/ca.key"
    )]
    Renew {
        /// The existing certificate (PEM)
        #[arg(value_name = "FILE")]
        certificate: PathBuf,
        /// The CA's certificate, and that of the CA that it replaces
        #[arg(long, value_name = "FILE", default_value = "ca.pem")]
        ca: PathBuf,
        /// The CA's private key
        #[arg(long, value_name = "FILE", default_value = "ca.key")]
        ca_key: PathBuf,
        /// The node's private key, if it has a new one; the node with it takes the place of the former
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Directory for the new certificate, under the name of the existing file; no file is overwritten
        #[arg(long, value_name = "DIR", default_value = "renewed")]
        dir: PathBuf,
        /// Validity in days, from now
        #[arg(long, default_value_t = NODE_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Revoke certificates: adds them to the revocation list of their CA, or begins one
    ///
    /// Give every node the list as its --crl. Nodes that read it close the connections of the revoked nodes, and refuse them.
    #[command(
        after_help = "Example:\n  phin cert revoke n2.pem --ca ca/ca.pem --ca-key ca/ca.key --crl ca/ca.crl"
    )]
    Revoke {
        /// Certificates to revoke (PEM); without any, the list is only signed again, or begun
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The CA's certificate
        #[arg(long, value_name = "FILE", default_value = "ca.pem")]
        ca: PathBuf,
        /// The CA's private key
        #[arg(long, value_name = "FILE", default_value = "ca.key")]
        ca_key: PathBuf,
        /// The revocation list, which is replaced by one with these certificates too
        #[arg(long, value_name = "FILE", default_value = "ca.crl")]
        crl: PathBuf,
        /// Days until the next list is promised; nodes use this one also after that
        #[arg(long, default_value_t = NODE_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Show the content of certificates
    #[command(after_help = "Example:\n  phin cert show n1.pem")]
    Show {
        /// Certificates (PEM)
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// The directory of new files. Not generic over the default, because clap stores the text of a default in a static
/// that all instances of a generic type share.
#[derive(clap::Args)]
struct Made {
    /// Directory for the new files; existing files are never overwritten
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

pub(crate) fn cert(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Ca { name, made, days } => {
            let ca = certificates::create_ca(name, Validity::days(*days)).map_err(failed)?;
            write_pair(&made.dir, "ca", &ca.certificate_pem, &ca.key_pem)
        }
        Command::Issue { name, ca, ca_key, key, no_assigned_id, made, days } => {
            let id = if *no_assigned_id { Id::OfKey } else { Id::Assigned };
            issue((name, id), (ca, ca_key), key.as_deref(), made, Validity::days(*days))
        }
        Command::Renew { certificate, ca, ca_key, key, dir, days } => {
            renew(certificate, (ca, ca_key), key.as_deref(), dir, Validity::days(*days))
        }
        Command::Revoke { files, ca, ca_key, crl, days } => {
            revoke(files, (ca, ca_key), crl, Validity::days(*days))
        }
        Command::Show { files } => files.iter().try_for_each(|file| show(file)),
    }
}

/// The id of the node that a certificate is for.
enum Id {
    /// The one that the CA assigns to its name.
    Assigned,
    OfKey,
}

fn issue(
    (name, id): (&str, Id),
    (ca, ca_key): (&Path, &Path),
    key: Option<&Path>,
    made: &Made,
    validity: Validity,
) -> Result<(), Failure> {
    // The name becomes the name of a file and of a member. Check both before writing anything.
    let member_name =
        phin::Name::try_from(name).map_err(|error| usage(name, &error.to_string()))?;
    if name.contains(['/', '\\']) || name.starts_with(['.', '-']) {
        return Err(usage(name, "it cannot be part of a file's name"));
    }
    if name == "ca" {
        return Err(usage(name, "the CA's own files have that name"));
    }
    let (ca_path, ca) = (ca, authority(ca, ca_key)?);
    let identity = match key {
        Some(path) => read_identity(path)?,
        None => Identity::generate(),
    };
    let issue = match id {
        Id::Assigned => certificates::issue_with_id,
        Id::OfKey => certificates::issue,
    };
    let certificate = issue(&ca, member_name.as_str(), &identity.public_key(), validity);
    let certificate = certificate.map_err(not_issued)?;
    match key {
        Some(_) => write_certificate(&made.dir, format!("{name}.pem").as_ref(), &certificate)?,
        None => write_pair(&made.dir, name, &certificate, &identity.to_pem())?,
    }
    warn_if_outlived(ca_path, &ca.certificate_pem, &certificate);
    Ok(())
}

fn renew(
    certificate: &Path,
    (ca_path, ca_key): (&Path, &Path),
    key: Option<&Path>,
    dir: &Path,
    validity: Validity,
) -> Result<(), Failure> {
    let Some(file_name) = certificate.file_name() else {
        return Err(Failure::Usage(format!("{} is not a file", certificate.display())));
    };
    let (old, ca) = (read(certificate)?, authority(ca_path, ca_key)?);
    let key = key.map(read_identity).transpose()?.map(|identity| identity.public_key());
    let renewed = certificates::renew(&ca, &old, key.as_ref(), validity).map_err(not_issued)?;
    write_certificate(dir, file_name, &renewed)?;
    warn_if_outlived(ca_path, &ca.certificate_pem, &renewed);
    Ok(())
}

fn read_identity(path: &Path) -> Result<Identity, Failure> {
    Identity::from_pem(&private_file::read(path).map_err(failed)?)
        .map_err(|error| Failure::runtime(path.display(), &error))
}

/// Why no certificate was issued, and what to do.
fn not_issued(error: certificates::CertificateError) -> Failure {
    let text = with_causes(&error);
    Failure::Runtime(match error {
        certificates::CertificateError::CannotAssignIds => {
            format!("{text}; issue certificates without an id: --no-assigned-id")
        }
        certificates::CertificateError::OtherIssuer => {
            format!("the certificate, or the id in it, is of no CA in the file of --ca: {text}")
        }
        _ => text,
    })
}

fn authority(ca: &Path, ca_key: &Path) -> Result<CertificateAuthority, Failure> {
    let ca_key = private_file::read(ca_key).map_err(failed)?;
    Ok(CertificateAuthority::new(read(ca)?, ca_key.into()))
}

/// Adds certificates to a revocation list, and replaces its file.
fn revoke(
    files: &[PathBuf],
    (ca, ca_key): (&Path, &Path),
    crl: &Path,
    validity: Validity,
) -> Result<(), Failure> {
    let ca = authority(ca, ca_key)?;
    let list = if crl.exists() { Some(read(crl)?) } else { None };
    let certificates = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let list = certificates::revoke(&ca, list.as_deref(), &certificates.concat(), validity)
        .map_err(failed)?;
    let described = certificates::describe_revocations(&list).map_err(failed)?;
    let revoked: usize = described.iter().map(|list| list.revoked.len()).sum();
    // A node that reads it at the same time finds the list before or the one after.
    let temporary = crl.with_added_extension("new");
    let written = fs::write(&temporary, &list).and_then(|()| fs::rename(&temporary, crl));
    written.map_err(|error| Failure::runtime(format!("cannot write {}", crl.display()), &error))?;
    let text = format!("wrote {}: certificates revoked: {revoked}\n", crl.display());
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Warns if the certificate of the CA expires before the new one, which is then no longer valid either.
fn warn_if_outlived(ca: &Path, ca_pem: &str, certificate_pem: &str) {
    let ends = |pem: &str, position: usize| {
        let described = certificates::describe(pem).unwrap_or_default();
        described.get(position).map(|one| one.validity.not_after)
    };
    let issuer = certificates::position_of_issuer(certificate_pem, ca_pem).ok().flatten();
    let ca_ends = issuer.and_then(|position| ends(ca_pem, position));
    let (Some(ca_ends), Some(not_after)) = (ca_ends, ends(certificate_pem, 0)) else { return };
    if ca_ends < not_after {
        let until = rfc3339(ca_ends);
        let warning = format!(
            "warning: {} expires at {until}, and then the new certificate is no longer valid either\n",
            ca.display()
        );
        let _ = io::stderr().write_all(warning.as_bytes());
    }
}

fn show(file: &Path) -> Result<(), Failure> {
    let described = certificates::describe(&read(file)?)
        .map_err(|error| Failure::runtime(file.display(), &error))?;
    let texts: Vec<String> =
        described.iter().map(|certificate| describe(file, certificate)).collect();
    Ok(io::stdout().write_all(texts.concat().as_bytes())?)
}

fn describe(file: &Path, certificate: &CertificateDescription) -> String {
    let Validity { not_before, not_after } = certificate.validity;
    let now = SystemTime::now();
    let note = if now > not_after {
        " (expired)"
    } else if now < not_before {
        " (not valid yet)"
    } else {
        ""
    };
    let node = match &certificate.peer_id {
        Some(id) if certificate.assigns_id => format!("{id} (assigned by the CA)"),
        Some(id) if !certificate.is_ca => format!("{id} (of its key)"),
        Some(_) => "none: a CA's certificate".to_owned(),
        None => format!("none: its key is {}, not Ed25519", certificate.key_algorithm),
    };
    format!(
        "{}\n  subject      {}\n  issuer       {}\n  node id      {node}\n  valid from   {}\n  \
         valid until  {}{note}\n  serial       {}\n  SHA-256      {}\n",
        file.display(),
        escaped(&certificate.subject),
        escaped(&certificate.issuer),
        rfc3339(not_before),
        rfc3339(not_after),
        certificate.serial,
        certificate.fingerprint,
    )
}

/// Writes both files, or neither if one of them exists.
fn write_pair(dir: &Path, name: &str, certificate: &str, key: &str) -> Result<(), Failure> {
    let (cert_path, key_path) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    if let Some(taken) = [&cert_path, &key_path].into_iter().find(|path| path.exists()) {
        return Err(Failure::not_created(taken, &io::ErrorKind::AlreadyExists.into()));
    }
    fs::create_dir_all(dir)
        .map_err(|error| Failure::runtime(format!("cannot create {}", dir.display()), &error))?;
    let created = |path: &Path, result: io::Result<()>| {
        result.map_err(|error| Failure::not_created(path, &error))
    };
    created(&key_path, private_file::create(&key_path, key.as_bytes()))?;
    let public = fs::File::create_new(&cert_path);
    created(&cert_path, public.and_then(|mut file| file.write_all(certificate.as_bytes())))?;
    let text = format!("wrote {} and {}\n", cert_path.display(), key_path.display());
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Writes a certificate whose private key exists.
fn write_certificate(dir: &Path, name: &OsStr, certificate: &str) -> Result<(), Failure> {
    fs::create_dir_all(dir)
        .map_err(|error| Failure::runtime(format!("cannot create {}", dir.display()), &error))?;
    let path = dir.join(name);
    fs::File::create_new(&path)
        .and_then(|mut file| file.write_all(certificate.as_bytes()))
        .map_err(|error| Failure::not_created(&path, &error))?;
    Ok(io::stdout().write_all(format!("wrote {}\n", path.display()).as_bytes())?)
}

fn read(path: &Path) -> Result<String, Failure> {
    text_file::read(path)
        .map_err(|error| Failure::runtime(format!("cannot read {}", path.display()), &error))
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::Runtime(with_causes(&error))
}

fn usage(name: &str, problem: &str) -> Failure {
    Failure::Usage(format!("the name {name:?} cannot be used: {problem}"))
}

/// The default validity of a CA, in days.
const CA_DAYS: u32 = 3_650;
/// The default validity of a node's certificate, in days.
const NODE_DAYS: u32 = 365;
