//! Who has a port: looked up in /proc, so that no tool is needed.

use std::fs;
use std::net::{IpAddr, TcpListener};

use anyhow::bail;

use crate::args::Args;

/// Makes sure that every port is free.
///
/// # Errors
/// The first that is taken: by whom, and how to choose another.
pub fn all_free(args: &Args) -> anyhow::Result<()> {
    for wanted in args.ports() {
        let address: IpAddr = match wanted.name {
            "Redis" => [127, 0, 0, 1].into(),
            _ => args.bind_address,
        };
        if let Err(error) = TcpListener::bind((address, wanted.port)) {
            if error.kind() != std::io::ErrorKind::AddrInUse {
                bail!("port {} of {address}: {error}", wanted.port);
            }
            let by = holder(wanted.port).map_or_else(String::new, |by| format!(" by {by}"));
            bail!(
                "port {}, meant for {}, is taken{by}: stop that, or choose another with {}=...",
                wanted.port,
                wanted.name,
                wanted.variable
            );
        }
    }
    Ok(())
}

/// Name and process id of what listens on `port`, as far as this user may see it.
fn holder(port: u16) -> Option<String> {
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| listening_socket(&fs::read_to_string(table).ok()?, port))?;
    let link = format!("socket:[{socket}]");
    let processes = fs::read_dir("/proc").ok()?;
    for process in processes.flatten() {
        let pid = process.file_name();
        if pid.to_string_lossy().parse::<u32>().is_err() {
            continue;
        }
        let folder = process.path();
        let Ok(files) = fs::read_dir(folder.join("fd")) else {
            continue;
        };
        let has_it = files
            .flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == link.as_str()));
        if has_it {
            let name = fs::read_to_string(folder.join("comm")).ok()?;
            return Some(format!("{} (pid {})", name.trim(), pid.display()));
        }
    }
    None
}

/// The inode of the socket in state LISTEN on `port`, from a table as in /proc/net/tcp.
fn listening_socket(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, hex) = columns.get(1)?.rsplit_once(':')?;
        let ours = u16::from_str_radix(hex, 16).ok()? == port && columns.get(3)? == &LISTEN;
        ours.then(|| columns.get(9).map(ToString::to_string)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = holder(port).unwrap();
        assert!(found.ends_with(&format!("(pid {})", std::process::id())), "{found}");
    }
}
