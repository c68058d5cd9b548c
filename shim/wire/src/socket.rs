//! The name of the socket on which the launcher sends the arena's descriptor to processes that may not open the arena.

/// Bytes for the longest name.
pub const ARENA_SOCKET_BYTES: usize = 48;

const PREFIX: &[u8] = b"rscalene-arena-";

/// Writes the abstract name of the socket (without its leading zero byte), for example `rscalene-arena-4711-3`; returns
/// its length. Two arenas never share a name, because the name holds the launcher's pid and descriptor.
pub fn arena_socket(launcher: u32, fd: u32, into: &mut [u8; ARENA_SOCKET_BYTES]) -> usize {
    let mut at = 0;
    let mut put = |byte: u8| {
        if let Some(place) = into.get_mut(at) {
            *place = byte;
            at += 1;
        }
    };
    PREFIX.iter().for_each(|byte| put(*byte));
    digits(launcher, &mut put);
    put(b'-');
    digits(fd, &mut put);
    at
}

fn digits(number: u32, put: &mut impl FnMut(u8)) {
    let mut divisor = 1_000_000_000;
    let mut begun = false;
    while divisor > 0 {
        let digit = (number / divisor % 10) as u8;
        begun |= digit != 0 || divisor == 1;
        if begun {
            put(b'0' + digit);
        }
        divisor /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::{ARENA_SOCKET_BYTES, arena_socket};

    #[test]
    fn a_name_holds_pid_and_descriptor() {
        let mut name = [0; ARENA_SOCKET_BYTES];
        let length = arena_socket(4_294_967_295, 0, &mut name);
        assert_eq!(&name[..length], b"rscalene-arena-4294967295-0");
        let length = arena_socket(10, 73, &mut name);
        assert_eq!(&name[..length], b"rscalene-arena-10-73");
    }
}
