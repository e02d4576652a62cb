//! Buffers the kernel receives into: a connection holds one only while bytes of it are read.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::ring::Ring;

/// Bytes of a buffer: large payloads arrive in few pieces.
const BUFFER_BYTES: usize = 64 << 10;

/// Buffers of a shard; a power of two.
const BUFFERS: u16 = 32;

const _: () = assert!(BUFFERS.is_power_of_two());

/// The group of buffers that receives name.
pub(super) const GROUP: u16 = 0;

/// A ring of buffers shared with the kernel: it takes from the head, we put back at the tail.
///
/// Pages that nothing was received into are not resident.
pub(super) struct Buffers {
    /// `BUFFERS` entries, then `BUFFERS` buffers.
    memory: NonNull<u8>,
    tail: u16,
}

const ENTRIES_BYTES: usize = {
    let bytes = BUFFERS as usize * size_of::<BufRingEntry>();
    bytes.next_multiple_of(4096)
};
const MEMORY_BYTES: usize = ENTRIES_BYTES + BUFFERS as usize * BUFFER_BYTES;

impl Buffers {
    /// Makes the buffers and hands all of them to the kernel.
    pub(super) fn register(ring: &Ring) -> io::Result<Buffers> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                MEMORY_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).expect("a mapping is not at address 0");
        let mut buffers = Buffers { memory, tail: 0 };
        // SAFETY: the mapping is page-aligned, large enough for the entries, and outlives the
        // ring: a shard drops its ring first.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(memory.as_ptr() as u64, BUFFERS, GROUP, 0)
        }?;
        for buffer in 0..BUFFERS {
            buffers.put(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// What was received into a buffer.
    pub(super) fn received(&self, buffer: u16, bytes: usize) -> &[u8] {
        assert!(buffer < BUFFERS && bytes <= BUFFER_BYTES, "the kernel names our buffers");
        // SAFETY: the kernel has filled this part of the buffer and does not write to it again
        // before it is put back, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.buffer(buffer).cast_const(), bytes) }
    }

    /// Gives a buffer back to the kernel.
    pub(super) fn recycle(&mut self, buffer: u16) {
        self.put(buffer);
        self.publish();
    }

    fn put(&mut self, buffer: u16) {
        let index = usize::from(self.tail & (BUFFERS - 1));
        let address = self.buffer(buffer) as u64;
        // SAFETY: the index is within the entries.
        let entry = unsafe { self.entries().add(index) };
        // SAFETY: only this thread writes to the entries, and this one is not the kernel's
        // before the tail is moved past it.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: the tail lies in the first entry, in memory of ours.
        let tail = unsafe { BufRingEntry::tail(self.entries().cast_const()) };
        // SAFETY: it is aligned, and nothing but atomic operations of ours and the kernel's
        // reads touches it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn entries(&self) -> *mut BufRingEntry {
        self.memory.as_ptr().cast()
    }

    fn buffer(&self, buffer: u16) -> *mut u8 {
        // SAFETY: `buffer` is below BUFFERS, so the address lies in the mapping.
        unsafe { self.memory.as_ptr().add(ENTRIES_BYTES + usize::from(buffer) * BUFFER_BYTES) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this size, and the ring that used it is gone.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), MEMORY_BYTES) };
    }
}
