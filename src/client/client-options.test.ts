import { describe, expect, it } from 'vitest'
import { type ClientOptions, refuseUnknownOptions } from './client-options.ts'

describe('refuseUnknownOptions', () => {
  it('names the option and the nearest one that there is', () => {
    expect(() => refuseUnknownOptions({ timeot: '1s' } as ClientOptions)).toThrow(
      'A client has no option "timeot"; did you mean "timeout"?',
    )
    expect(() => refuseUnknownOptions({ timeout: '1s', name: 'mine', setAsDefault: false })).not.toThrow()
  })
})
