export interface EncoderOptions {
  /** Large buffers become frames instead of parts of the body. */
  readonly outOfBand: boolean
  /** The key of a task when `value` stands for its result. */
  readonly refOf?: (value: object) => string | undefined
  /** Keep track of where the encoder is. Only for a second attempt after a failure: it is not free. */
  readonly trackPath?: boolean
}
