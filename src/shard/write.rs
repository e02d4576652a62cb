//! What waits to be written to one connection.

use bytes::Bytes;

use super::effect::{Chunk, WriteBatch};

/// Bytes to be written to a connection, and the size of the batch that is being written.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    chunks: Vec<Chunk>,
    tail: Vec<u8>,
    chunk_bytes: usize,
    /// Bytes of the batch the driver has not confirmed; at most one batch is out.
    in_flight_bytes: usize,
}

impl WriteBuffer {
    /// Where to append.
    pub fn tail(&mut self, pool: &mut BufferPool) -> &mut Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail = pool.take();
        }
        &mut self.tail
    }

    /// Appends a payload without copying it.
    pub fn push_shared(&mut self, payload: Bytes) {
        self.seal_tail();
        self.chunk_bytes += payload.len();
        self.chunks.push(Chunk::Shared(payload));
    }

    /// Bytes waiting, those being written included.
    pub fn bytes(&self) -> usize {
        self.chunk_bytes + self.tail.len() + self.in_flight_bytes
    }

    /// Whether there is something to write and nothing being written.
    pub fn is_ready(&self) -> bool {
        self.in_flight_bytes == 0 && self.chunk_bytes + self.tail.len() > 0
    }

    /// Everything that waits, to be written next.
    pub fn take(&mut self) -> WriteBatch {
        let bytes = self.chunk_bytes + self.tail.len();
        let batch = self.take_last();
        self.in_flight_bytes = bytes;
        batch
    }

    /// Everything that waits, to be written last: the driver does not report back.
    pub fn take_last(&mut self) -> WriteBatch {
        self.chunk_bytes = 0;
        if self.chunks.is_empty() {
            return match std::mem::take(&mut self.tail) {
                tail if tail.is_empty() => WriteBatch::Empty,
                tail => WriteBatch::One(tail),
            };
        }
        self.seal_tail();
        self.chunk_bytes = 0;
        WriteBatch::Many(std::mem::take(&mut self.chunks))
    }

    /// The batch that was being written is gone.
    pub fn confirm(&mut self) {
        self.in_flight_bytes = 0;
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunk_bytes += self.tail.len();
            self.chunks.push(Chunk::Buffer(std::mem::take(&mut self.tail)));
        }
    }
}

/// Buffers that have been written, for the next connections that write: an idle connection
/// holds none.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: Vec<Vec<u8>>,
}

impl BufferPool {
    const BUFFERS_MAX: usize = 256;
    const CAPACITY_MIN: usize = 512;
    const CAPACITY_MAX: usize = 64 << 10;

    /// An empty buffer.
    pub fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(Self::CAPACITY_MIN))
    }

    /// Takes the buffers of a written batch back.
    pub fn recycle(&mut self, batch: WriteBatch) {
        match batch {
            WriteBatch::Empty => {}
            WriteBatch::One(buffer) => self.put(buffer),
            WriteBatch::Many(chunks) => {
                for chunk in chunks {
                    if let Chunk::Buffer(buffer) = chunk {
                        self.put(buffer);
                    }
                }
            }
        }
    }

    fn put(&mut self, mut buffer: Vec<u8>) {
        if self.free.len() < Self::BUFFERS_MAX && buffer.capacity() <= Self::CAPACITY_MAX {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}
