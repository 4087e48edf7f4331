//! Who listens on a port of this machine, as far as /proc tells.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// `TCP_LISTEN` of the kernel's include/net/tcp_states.h.
const LISTEN: &str = "0A";

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    /// Its command's name. Arguments may hold secrets.
    pub(crate) command: String,
}

/// The process that listens on a port; processes of other users and containers are out of sight.
pub(crate) fn listener(port: u16) -> Option<Owner> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inodes: HashSet<_> = tables.iter().flat_map(|table| inodes(table, port)).collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = processes.find(|pid| holds(*pid, &inodes))?;
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Owner {
        pid,
        command: command.trim().to_owned(),
    })
}

/// The inodes of sockets that listen on a port, from a table as proc(5) describes it.
fn inodes(table: &str, port: u16) -> Vec<String> {
    let rows = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening = rows.filter(|row| {
        let local = row.get(1).and_then(|local| local.rsplit_once(':'));
        row.get(3) == Some(&LISTEN) && local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port))
    });
    listening
        .filter_map(|row| row.get(9).map(|inode| (*inode).to_owned()))
        .collect()
}

fn holds(pid: u32, inodes: &HashSet<String>) -> bool {
    let Ok(files) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else {
        return false;
    };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        let inode = target
            .to_str()
            .and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']'));
        inode.is_some_and(|inode| inodes.contains(inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:A2B4 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
";
        assert_eq!(inodes(table, 8080), ["4711"]);
        assert_eq!(inodes(table, 8081), [""; 0]);
    }

    #[test]
    fn this_process_is_found() {
        let listener_ = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = listener(listener_.local_addr().unwrap().port()).unwrap();
        assert_eq!(owner.pid, std::process::id());
        assert!(!owner.command.is_empty());
    }
}
