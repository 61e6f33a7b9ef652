import { expect, it } from 'vitest'
import { formatTable } from './table.ts'

it('aligns numbers to the right, text to the left, and pads nothing at the end', () => {
  expect(
    formatTable(
      ['name', 'size'],
      [
        ['a', '1.50 GiB'],
        ['longer', '12 B'],
      ],
    ),
  ).toBe(['name        size', '------  --------', 'a       1.50 GiB', 'longer      12 B'].join('\n'))
})

it('shows the headers of an empty table', () => {
  expect(formatTable(['a', 'bc'], [])).toBe('a  bc\n-  --')
})
