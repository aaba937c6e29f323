export function polarsFrom(o?: { fetch?: boolean }): Promise<{ from: string; reason?: undefined } | { from?: undefined; reason: string }>
