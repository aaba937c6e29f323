// runtime/node-host.ts: which machine, boot and process this is, and whether another process still runs (the LOCK's staleness test, log.md section 3).
//
// Invariant: `isAlive` answers false only when the process is certainly gone; where it cannot be told the answer is undefined, never a guess.
// Linux facts from proc(5): boot id in /proc/sys/kernel/random/boot_id, start time = field 22 of /proc/<pid>/stat (clock ticks since boot), state = field 3.
import fs from 'node:fs'
import os from 'node:os'

import type { Host } from './world.ts'

/** Stands for "this platform does not tell": equal on every boot, so that it never proves anybody dead. */
const UNKNOWN_BOOT = 'unknown-boot'

export function nodeHost(): Host {
  return {
    name: os.hostname(),
    pid: process.pid,
    bootId: readText('/proc/sys/kernel/random/boot_id')?.trim() ?? UNKNOWN_BOOT,
    processStartTime: readProcess(process.pid)?.startTime ?? '',
    isAlive,
  }
}

function isAlive(pid: number, startTime: string): boolean | undefined {
  if (!Number.isInteger(pid) || pid <= 0) return undefined
  try {
    process.kill(pid, 0)
  } catch (error) {
    const code = (error as { code?: unknown }).code
    if (code === 'ESRCH') return false
    if (code !== 'EPERM') return undefined // EPERM: it runs, as another user
  }
  const found = readProcess(pid)
  if (found === undefined) return undefined
  // A zombie was killed and waits for its parent: it holds no descriptor and writes nothing any more.
  if (found.state === 'Z' || found.state === 'X') return false
  if (startTime === '') return undefined
  return found.startTime === startTime
}

function readProcess(pid: number): { state: string; startTime: string } | undefined {
  const text = readText(`/proc/${pid}/stat`)
  if (text === undefined) return undefined
  // Field 2 is the command in parentheses and may hold spaces and parentheses itself: count from the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const state = fields[0]
  const startTime = fields[19]
  return state === undefined || startTime === undefined ? undefined : { state, startTime }
}

function readText(path: string): string | undefined {
  try {
    return fs.readFileSync(path, 'utf8')
  } catch {
    return undefined // not Linux, or /proc is hidden
  }
}
