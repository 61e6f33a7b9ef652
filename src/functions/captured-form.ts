// The bytes of a captured function: JSON, because it is read once per executor and function.

import { PlimsollError } from '../errors/plimsoll-error.ts'

export interface CapturedSource {
  readonly kind: 'source'
  readonly name: string
  /** A JavaScript expression whose value is the function. */
  readonly expression: string
  /** Declarations of what bundlers left in it; see bundler-helpers.ts. */
  readonly prelude: string
  /** The variable by which the function calls itself, where that is not part of `expression`. */
  readonly selfName: string | null
  readonly strict: boolean
  /** Directory that `import()` inside the function resolves from: where the program was started. */
  readonly directory: string
}

export interface CapturedModule {
  readonly kind: 'module'
  readonly name: string
  /** A URL, or a package specifier. */
  readonly specifier: string
  readonly exportName: string
  readonly directory: string
}

export type CapturedForm = CapturedSource | CapturedModule

export function packForm(form: CapturedForm): Uint8Array {
  return Buffer.from(JSON.stringify(form))
}

/** @throws PlimsollError CANNOT_CAPTURE when the bytes are not those of a captured function. */
export function unpackForm(bytes: Uint8Array): CapturedForm {
  let form: unknown
  try {
    form = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString())
  } catch (cause) {
    throw new PlimsollError('CANNOT_CAPTURE', 'the bytes of a function are damaged', {}, { cause })
  }
  const fields = (form ?? {}) as Record<string, unknown>
  const texts =
    fields['kind'] === 'module'
      ? ['name', 'specifier', 'exportName', 'directory']
      : ['name', 'expression', 'prelude', 'directory']
  if (
    (fields['kind'] !== 'source' && fields['kind'] !== 'module') ||
    texts.some((key) => typeof fields[key] !== 'string')
  ) {
    throw new PlimsollError(
      'CANNOT_CAPTURE',
      'the bytes of a function are in an unknown format: client and workers have different versions',
    )
  }
  return form as CapturedForm
}
