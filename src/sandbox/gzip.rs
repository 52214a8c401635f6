//! Gzip without compression (RFC 1952, stored blocks of RFC 1951 §3.2.4): enough to be an EHR that sends gzip to
//! someone who asked for `identity`.

/// The largest stored block.
const BLOCK: usize = 0xffff;

/// Wraps bytes into a gzip member.
pub(super) fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = bytes.chunks(BLOCK).peekable();
    if blocks.peek().is_none() {
        member.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        member.push(u8::from(blocks.peek().is_none()));
        member.extend(length.to_le_bytes());
        member.extend((!length).to_le_bytes());
        member.extend(block);
    }
    member.extend(checksum(bytes).to_le_bytes());
    // The size is kept modulo 2^32 (RFC 1952 §2.3.1).
    let size = u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    member.extend(size.to_le_bytes());
    member
}

/// CRC-32 as gzip has it (RFC 1952 §8).
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard_check_value() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_member_has_its_bytes_in_stored_blocks() {
        let member = stored(b"ab");
        assert_eq!(member[10..17], [1, 2, 0, 0xfd, 0xff, b'a', b'b']);
        assert_eq!(member[member.len() - 4..], [2, 0, 0, 0]);
    }
}
