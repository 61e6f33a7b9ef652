import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { hostTakesFreePages } from './free-pages.ts'

let driver = ''
beforeEach(() => {
  driver = mkdtempSync(join(tmpdir(), 'plimsoll-balloon-'))
})
afterEach(() => rmSync(driver, { recursive: true }))

function device(name: string, features: string | null): void {
  mkdirSync(join(driver, name))
  if (features !== null) writeFileSync(join(driver, name, 'features'), features)
}

it('is told by the sixth bit of a balloon, whichever it is', () => {
  writeFileSync(join(driver, 'bind'), '11111111')
  device('virtio0', `${'0'.repeat(64)}\n`)
  expect(hostTakesFreePages(driver)).toBe(false)
  device('virtio1', `0110100${'0'.repeat(57)}\n`)
  expect(hostTakesFreePages(driver)).toBe(false)
  device('virtio2', `0000010${'0'.repeat(57)}\n`)
  expect(hostTakesFreePages(driver)).toBe(true)
})

it('is not the case without a driver, a device or features that can be read', () => {
  expect(hostTakesFreePages(join(driver, 'none'))).toBe(false)
  expect(hostTakesFreePages(driver)).toBe(false)
  device('virtio0', null)
  device('virtio1', '')
  expect(hostTakesFreePages(driver)).toBe(false)
})
