import { describe, expect, it } from 'vitest'
import { formatBytes, formatDurationMs, parseBytes, parseDurationMs } from './units.ts'

describe('parseBytes', () => {
  it.each([
    ['4 GiB', 4 * 2 ** 30],
    ['4GB', 4e9],
    ['600MiB', 600 * 2 ** 20],
    ['1.5 kB', 1500],
    ['1e6', 1e6],
    ['5', 5],
    ['.5 GB', 5e8],
    ['MB', 1e6],
    [' 10 b ', 10],
    [123.9, 123],
  ])('reads %s', (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes)
  })

  it.each(['4GB8', '', '4 XB', '-1', 'GiB 4', '1 2', Number.NaN, -5])(
    'refuses %s and says what is accepted',
    (text) => {
      expect(() => parseBytes(text)).toThrow(/is not a size: write bytes/)
    },
  )
})

describe('parseDurationMs', () => {
  it.each([
    ['30s', 30_000],
    ['100ms', 100],
    ['5 min', 300_000],
    ['2', 2000],
    ['1h', 3_600_000],
    [250, 250],
    ['1.5 minutes', 90_000],
  ])('reads %s', (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms)
  })

  it.each(['soon', '3 fortnights', '', '-1s'])('refuses %s', (text) => {
    expect(() => parseDurationMs(text)).toThrow(/is not a duration/)
  })
})

it('formats sizes with two digits and binary units', () => {
  expect([0, 12, 1024, 1.5 * 2 ** 30, -(2 ** 20), 1000 * 2 ** 20].map((bytes) => formatBytes(bytes))).toEqual([
    '0 B',
    '12 B',
    '1.00 KiB',
    '1.50 GiB',
    '-1.00 MiB',
    '0.98 GiB',
  ])
})

it('formats durations for people', () => {
  expect([0.4, 12, 3400, 125_000, 3_840_000].map((ms) => formatDurationMs(ms))).toEqual([
    '400 us',
    '12 ms',
    '3.4 s',
    '2 min 5 s',
    '1 h 4 min',
  ])
})
