// Every bound of the transports, with its reason.

const KIB = 1024
const MIB = 1024 * KIB

/** A hello is under 1 KiB; nobody unknown makes us hold more than this. */
export const HELLO_BYTES_MAX = 4 * KIB
/** A peer that has not proved itself by then is gone. */
export const HANDSHAKE_MS_MAX = 5000
/** How long a refused peer has to read why. */
export const REFUSAL_MS_MAX = 1000
/** Unauthenticated connections per listener; one more drops the oldest, so that silent ones cannot shut others out. */
export const PENDING_MAX = 64
/** A message, after authentication. Larger data travels in chunks. */
export const MESSAGE_BYTES_MAX = 256 * MIB
export const FRAMES_MAX = 4096
/** Smaller messages are joined into one buffer before they are written; larger frames are written without a copy. */
export const JOIN_BYTES_MAX = 64 * KIB
/** Frames from this size on get an allocation of their own instead of a view of the receive buffer. */
export const OWN_FRAME_BYTES_MIN = 16 * KIB
/** What one read from the operating system may fill while no large frame is under way. */
export const RECEIVE_BYTES = 64 * KIB
/** With less left of it, the next read gets a new one. */
export const RECEIVE_BYTES_MIN = 16 * KIB
/** What is read and written of a file when the socket is full: as little as possible, but not less than one packet. */
export const FILE_PIECE_BYTES = 64 * KIB
/** `drained()` resolves below this: enough to keep a fast link busy while the next chunk is made. */
export const LOW_WATER_BYTES = MIB
/** How long `close()` waits for the peer to take what is queued. */
export const CLOSE_MS_MAX = 5000
/** The size of the pieces in which callers send large data; not below the low-water mark (comm.ts C5). A chunk costs both
 * ends some 400 us besides its bytes. */
export const CHUNK_BYTES = 2 * MIB
/** Chunks' worth of memory that a connection keeps for the next ones. */
export const POOLED_FRAMES_MAX = 3
