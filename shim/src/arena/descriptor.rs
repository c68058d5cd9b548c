//! Asks the launcher for the arena's file, in a process that may not open it.
//!
//! Job: a process of another user, or of a user namespace of its own, may not open `/proc/LAUNCHER/fd/N`. The launcher
//! listens on a socket without a place in the file system, and sends the descriptor to a process that knows the nonce.
//! Invariant: only the launcher is asked (by the kernel's word on the other end of the socket), each call waits for a
//! second at most, and system calls are made directly. Neighbours: `segment` (opens the arena),
//! `transport::arena_server` in the launcher.

use rscalene_wire as wire;

use crate::ground::sys;

/// The longest wait for the launcher, in seconds.
const PATIENCE_S: i64 = 1;
/// Bytes of a control message with one descriptor, in whole words.
const CONTROL: usize = size_of::<libc::cmsghdr>() + 8;

/// Returns a descriptor of the arena's file, or a negative number.
pub(crate) fn receive(launcher: u32, fd: u32, nonce: u64) -> i32 {
    let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: makes a new socket.
    let socket = unsafe { sys::call3(libc::SYS_socket, libc::AF_UNIX as usize, flags as usize, 0) } as i32;
    if socket < 0 {
        return -1;
    }
    let descriptor = ask(socket, launcher, fd, nonce);
    sys::close(socket);
    descriptor
}

fn ask(socket: i32, launcher: u32, fd: u32, nonce: u64) -> i32 {
    let patience = libc::timeval { tv_sec: PATIENCE_S, tv_usec: 0 };
    for option in [libc::SO_SNDTIMEO, libc::SO_RCVTIMEO] {
        // SAFETY: the kernel reads a timeval.
        unsafe {
            sys::call6(
                libc::SYS_setsockopt,
                socket as usize,
                libc::SOL_SOCKET as usize,
                option as usize,
                (&raw const patience) as usize,
                size_of::<libc::timeval>(),
                0,
            )
        };
    }
    // SAFETY: all bytes zero is a valid address.
    let mut address: libc::sockaddr_un = unsafe { core::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let mut name = [0u8; wire::ARENA_SOCKET_BYTES];
    let length = wire::arena_socket(launcher, fd, &mut name);
    // An abstract name begins with a zero byte.
    for (to, from) in address.sun_path.iter_mut().skip(1).zip(name.iter().take(length)) {
        *to = *from as core::ffi::c_char;
    }
    let bytes = size_of::<libc::sa_family_t>() + 1 + length;
    // SAFETY: the kernel reads `bytes` bytes of the address, which is longer.
    if unsafe { sys::call3(libc::SYS_connect, socket as usize, (&raw const address) as usize, bytes) } < 0 {
        return -1;
    }
    if !is_launcher(socket, launcher) {
        return -1;
    }
    let nonce = nonce.to_le_bytes();
    // SAFETY: the kernel reads eight bytes.
    let sent = unsafe {
        let (at, flags) = (nonce.as_ptr() as usize, libc::MSG_NOSIGNAL as usize);
        sys::call6(libc::SYS_sendto, socket as usize, at, nonce.len(), flags, 0, 0)
    };
    if sent == nonce.len() as isize { received(socket) } else { -1 }
}

/// Is the launcher at the other end of the socket? Another program could listen on the same name. In another PID
/// namespace the kernel says 0.
fn is_launcher(socket: i32, launcher: u32) -> bool {
    let mut peer = libc::ucred { pid: -1, uid: 0, gid: 0 };
    let mut bytes = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `bytes` bytes to `peer`.
    let answer = unsafe {
        sys::call6(
            libc::SYS_getsockopt,
            socket as usize,
            libc::SOL_SOCKET as usize,
            libc::SO_PEERCRED as usize,
            (&raw mut peer) as usize,
            (&raw mut bytes) as usize,
            0,
        )
    };
    answer == 0 && [0, launcher as i32].contains(&peer.pid)
}

/// The descriptor in the launcher's answer, or a negative number.
fn received(socket: i32) -> i32 {
    #[repr(C, align(8))]
    struct Control([u8; CONTROL]);
    let mut control = Control([0; CONTROL]);
    let mut byte = 0u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: all bytes zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL as _;
    let flags = libc::MSG_CMSG_CLOEXEC as usize;
    // SAFETY: `message` names a byte and a control buffer of the stated sizes.
    let read = unsafe { sys::call3(libc::SYS_recvmsg, socket as usize, (&raw mut message) as usize, flags) };
    let head = size_of::<libc::cmsghdr>();
    if read != 1 || (message.msg_controllen as usize) < head + size_of::<i32>() {
        return -1;
    }
    // SAFETY: the buffer is aligned for the header, and the kernel wrote at least a header and a descriptor.
    let (header, descriptor) = unsafe {
        let at = (&raw const control).cast::<u8>();
        (at.cast::<libc::cmsghdr>().read(), at.add(head).cast::<i32>().read())
    };
    let rights = header.cmsg_level == libc::SOL_SOCKET && header.cmsg_type == libc::SCM_RIGHTS;
    if rights { descriptor } else { -1 }
}
