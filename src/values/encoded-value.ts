/** A value as the bytes that are stored and sent: what a blob holds besides its own header. */
export interface EncodedValue {
  /** Which decoder reads it. */
  readonly family: string
  /** Type name of the value, for people. */
  readonly type: string
  /** The body, then the out-of-band buffers, which still belong to the value: write them before it changes. */
  readonly frames: readonly Uint8Array[]
  /** Sum of the frames, in bytes. */
  readonly nbytes: number
}

/** What has to be known of an encoded value to lay its blob out. */
export interface SizedValue {
  readonly family: string
  readonly type: string
  readonly frames: readonly { readonly byteLength: number }[]
  /** Sum of the frames. */
  readonly nbytes: number
}

/** The only family so far: body-format.ts, version 1. */
export const FAMILY = 'js1'
