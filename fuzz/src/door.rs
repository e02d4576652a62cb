//! One connection's layers, fed in pieces.

use std::sync::Arc;

use hawker::transport::{Door, Transport, WebOptions};

/// What came out of the layers, and whether they broke.
type Outcome = (Vec<u8>, Vec<u8>, bool);

/// Feeds a stream to the layers of a door; its first byte says which, its second how it is cut.
pub fn walk_through_door(stream: &[u8]) {
    let [which, cut, stream @ ..] = stream else { return };
    let (path, origins) = ("/mqtt".to_owned(), Vec::new());
    let web = Arc::new(WebOptions { path: Some(path), origins, request_bytes_max: 8192 });
    let door = Door {
        web: (which & 1 != 0).then_some(web),
        is_mux: which & 2 != 0,
        is_behind_proxy: which & 4 != 0,
        ..Door::default()
    };
    let whole = feed(&door, stream, stream.len().max(1));
    let pieces = feed(&door, stream, usize::from(*cut).max(1));
    if !whole.2 && !pieces.2 {
        assert_eq!(whole, pieces, "packets and answers do not depend on where bytes are cut");
    }
}

fn feed(door: &Door, stream: &[u8], piece: usize) -> Outcome {
    let (mut packets, mut out) = (Vec::new(), Vec::new());
    let Ok(Some(mut transport)) = Transport::new(door) else { return (packets, out, false) };
    for bytes in stream.chunks(piece) {
        if transport.receive(bytes, &mut packets, &mut out).is_err() {
            return (packets, out, true);
        }
    }
    assert!(packets.len() <= stream.len(), "nothing is made up");
    transport.send(std::iter::once(&packets[..]), &mut out);
    transport.close(&mut out);
    (packets, out, false)
}
