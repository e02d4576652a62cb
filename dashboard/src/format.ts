// Numbers, sizes and times as people read them.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

export function count(value: number | null | undefined): string {
  return value == null ? '–' : whole.format(value);
}

/** 1234567 is 1.2M: for where room is scarce. */
export function short(value: number): string {
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]] as const) {
    if (Math.abs(value) >= size) return fine.format(value / size) + unit;
  }
  return fine.format(value);
}

export function rate(value: number | null | undefined): string {
  if (value == null) return '–';
  if (value >= 10_000) return short(value);
  return value >= 100 ? whole.format(value) : fine.format(value);
}

export function bytes(value: number | null | undefined): string {
  if (value == null) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? whole.format(value) : fine.format(value)} ${units[unit]}`;
}

/** The two largest parts of a time: 3 d 4 h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null) return '–';
  const parts: string[] = [];
  let rest = Math.max(0, Math.floor(seconds));
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]] as const) {
    const amount = Math.floor(rest / size);
    rest -= amount * size;
    if (amount > 0 || (unit === 's' && parts.length === 0)) parts.push(`${amount} ${unit}`);
  }
  return parts.slice(0, 2).join(' ');
}

export function moment(ms: number | null | undefined): string {
  if (ms == null) return '–';
  const when = new Date(ms);
  const pad = (n: number) => String(n).padStart(2, '0');
  const day = `${when.getFullYear()}-${pad(when.getMonth() + 1)}-${pad(when.getDate())}`;
  return `${day} ${clock(ms)}`;
}

/** A moment of today by its time alone. */
export function lately(ms: number): string {
  return new Date(ms).toDateString() === new Date().toDateString() ? clock(ms) : moment(ms);
}

export function clock(ms: number): string {
  const when = new Date(ms);
  return [when.getHours(), when.getMinutes(), when.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}

export function percent(part: number, of: number): string {
  return of > 0 ? `${fine.format((part / of) * 100)} %` : '–';
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** snake_case of the API as words. */
export function words(name: string): string {
  const text = name.replace(/_/g, ' ').replace(/\bqos ?(\d?)\b/gi, (_, level) => (level ? `QoS ${level}` : 'QoS'));
  return text.charAt(0).toUpperCase() + text.slice(1);
}
