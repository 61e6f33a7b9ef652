// Whether the host of this virtual machine takes back memory that is free in it (virtio balloon with free page reporting).
// There, a page that was never used, or not for long, has to be given by the host again: several times the price of writing it.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const BALLOON_DRIVER = '/sys/bus/virtio/drivers/virtio_balloon'
/** VIRTIO_BALLOON_F_REPORTING; `features` has a character for each bit, the lowest first. */
const REPORTING_BIT = 5

export function hostTakesFreePages(driver = BALLOON_DRIVER): boolean {
  try {
    return readdirSync(driver).some((name) => name.startsWith('virtio') && hasReporting(join(driver, name)))
  } catch {
    // No such driver, or no such system.
    return false
  }
}

function hasReporting(device: string): boolean {
  try {
    return readFileSync(join(device, 'features'), 'utf8')[REPORTING_BIT] === '1'
  } catch {
    return false
  }
}
