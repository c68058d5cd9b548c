//! Sends the arena's descriptor to processes without the right to open the arena.
//!
//! Job: a target of another user (a server started as root, `runuser`, `unshare -Ur`) may not open
//! `/proc/LAUNCHER/fd/N`. Its shim connects to a socket without a place in the file system and gets the descriptor.
//! Invariant: only a process with the arena's nonce gets the descriptor; the nonce stands in the environment of the
//! targets, and other users cannot read this environment. The thread leaves a silent client after a fifth of a second.
//! Neighbours: `arena` (the file), the shim's `arena::descriptor` (the other end).

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rscalene_wire as wire;

use super::arena::Arena;

/// The longest wait for a client's nonce.
const PATIENCE: Duration = Duration::from_millis(200);
/// Pause after a failed `accept`.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes of stack: the thread calls the kernel and nothing else.
const STACK: usize = 128 << 10;

/// The socket, and from [`ArenaServer::start`] on the thread behind the socket. The thread ends when the value is dropped.
#[derive(Debug)]
pub struct ArenaServer {
    listener: Arc<UnixListener>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ArenaServer {
    /// Opens the socket. Processes may connect from now on, and get answers after [`Self::start`].
    ///
    /// # Errors
    /// The system gives no socket, or another program has taken the name.
    pub fn bind(arena: &Arena) -> io::Result<Self> {
        let mut name = [0; wire::ARENA_SOCKET_BYTES];
        let length = wire::arena_socket(std::process::id(), arena.descriptor().unsigned_abs(), &mut name);
        let address = SocketAddr::from_abstract_name(name.get(..length).unwrap_or_default())?;
        Ok(Self { listener: Arc::new(UnixListener::bind_addr(&address)?), ends: Arc::default(), thread: None })
    }

    /// Starts the thread. Without a thread, processes of other users wait for a second and stay unprofiled.
    pub fn start(&mut self, arena: Arc<Arena>) {
        let (listener, ends) = (Arc::clone(&self.listener), Arc::clone(&self.ends));
        let work = move || {
            while !ends.load(Ordering::Acquire) {
                match listener.accept() {
                    // A failed client stays unprofiled, and needs no other answer.
                    Ok((client, _)) => drop(answer(client, &arena)),
                    // No descriptor is left at the moment, or the socket was shut down.
                    Err(_) => std::thread::sleep(PAUSE),
                }
            }
        };
        self.thread = std::thread::Builder::new().name("rscalene-arena".into()).stack_size(STACK).spawn(work).ok();
    }
}

impl Drop for ArenaServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        // SAFETY: the descriptor is open; the call ends the thread's `accept`.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut client: UnixStream, arena: &Arena) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut nonce = [0; 8];
    client.read_exact(&mut nonce)?;
    if u64::from_le_bytes(nonce) == arena.nonce() { send(&client, arena.descriptor()) } else { Ok(()) }
}

/// Sends a byte, and the descriptor with it.
fn send(client: &UnixStream, descriptor: RawFd) -> io::Result<()> {
    let mut byte = 1_u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control = [0_u64; 8];
    // SAFETY: all bytes zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    let bytes = size_of::<RawFd>() as u32;
    // SAFETY: the control buffer is aligned, and has room for a header and one descriptor; the macros stay within it.
    let sent = unsafe {
        message.msg_controllen = libc::CMSG_SPACE(bytes) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(bytes) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(descriptor);
        libc::sendmsg(client.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn ask(address: &SocketAddr, nonce: u64) -> usize {
        let mut client = UnixStream::connect_addr(address).expect("it listens");
        client.write_all(&nonce.to_le_bytes()).expect("it reads");
        client.read(&mut [0; 8]).unwrap_or(0)
    }

    #[test]
    fn only_a_client_with_the_nonce_gets_an_answer_and_a_silent_client_delays_the_next_briefly() {
        let arena = Arc::new(Arena::create(wire::Settings::default(), 1, 64 * wire::PAGE).expect("an arena"));
        let mut server = ArenaServer::bind(&arena).expect("a socket");
        server.start(Arc::clone(&arena));
        let address = server.listener.local_addr().expect("it is bound");
        let _silent = UnixStream::connect_addr(&address).expect("it listens");
        assert_eq!(ask(&address, arena.nonce() ^ 1), 0);
        assert_eq!(ask(&address, arena.nonce()), 1);
        drop(server);
        assert!(UnixStream::connect_addr(&address).is_err());
    }
}
