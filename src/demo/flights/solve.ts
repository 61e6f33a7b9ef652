import { invariant } from '../../base/invariant.ts'

/** Solves the symmetric system `matrix * x = right` (row-major, `right.length` squared) by elimination with partial pivoting. */
export function solve(matrix: Float64Array, right: Float64Array): Float64Array {
  const n = right.length
  const a = Float64Array.from(matrix)
  const x = Float64Array.from(right)
  const at = (row: number, column: number): number => a[row * n + column] as number
  for (let pivot = 0; pivot < n; pivot++) {
    let best = pivot
    for (let row = pivot + 1; row < n; row++) if (Math.abs(at(row, pivot)) > Math.abs(at(best, pivot))) best = row
    invariant(at(best, pivot) !== 0, 'the columns of the regression are linearly dependent')
    if (best !== pivot) {
      for (let column = 0; column < n; column++) {
        const swapped = at(pivot, column)
        a[pivot * n + column] = at(best, column)
        a[best * n + column] = swapped
      }
      const swapped = x[pivot] as number
      x[pivot] = x[best] as number
      x[best] = swapped
    }
    for (let row = pivot + 1; row < n; row++) {
      const factor = at(row, pivot) / at(pivot, pivot)
      for (let column = pivot; column < n; column++) a[row * n + column] = at(row, column) - factor * at(pivot, column)
      x[row] = (x[row] as number) - factor * (x[pivot] as number)
    }
  }
  for (let row = n - 1; row >= 0; row--) {
    let value = x[row] as number
    for (let column = row + 1; column < n; column++) value -= at(row, column) * (x[column] as number)
    x[row] = value / at(row, row)
  }
  return x
}
