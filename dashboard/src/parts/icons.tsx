// Line drawings on a grid of 20.
const PATHS: Record<string, string> = {
  overview: 'M3 12.5l4-5 3.5 3.5L17 4M3 17h14',
  clients: 'M7 9.5a3 3 0 100-6 3 3 0 000 6zM1.8 17c.4-3 2.500-4.700 5.200-4.700s4.800 1.700 5.200 4.700M13.500 9.300a2.600 2.600 0 10-.8-5M15 12.600c1.800.4 3 1.900 3.300 4.400',
  subscriptions: 'M5 4.500v11M5 6h5M5 14h5M10 4h6v4h-6zM10 12h6v4h-6zM3 3h4v3H3z',
  retained: 'M5 3h10v14l-5-3.800L5 17z',
  messages: 'M3 5h14v9H9l-4 3v-3H3zM6.500 8.300h7M6.500 11h4.500',
  tool: 'M3 4h14v12H3zM6 8l2.500 2L6 12M10.500 12.500H14',
  trace: 'M4 4.500a1.500 1.500 0 103 0 1.500 1.500 0 00-3 0zM13 15.500a1.500 1.500 0 103 0 1.500 1.500 0 00-3 0zM7 4.500h6.500a3 3 0 010 6h-7a2.500 2.500 0 000 5H13',
  listeners: 'M10 10v7M7 17h6M10 10a1.500 1.500 0 100-3 1.500 1.500 0 000 3zM6.500 11.800a5 5 0 010-6.600M13.500 11.800a5 5 0 000-6.600M4 14a8.500 8.500 0 010-11M16 14a8.500 8.500 0 000-11',
  shards: 'M5 5h10v10H5zM8 8h4v4H8zM7.500 5V2.500M12.500 5V2.500M7.500 17.500V15M12.500 17.500V15M5 7.500H2.500M5 12.500H2.500M17.500 7.500H15M17.500 12.500H15',
  storage: 'M3.500 5.500c0-3.300 13-3.300 13 0v9c0 3.300-13 3.300-13 0zM3.500 5.500c0 3.300 13 3.300 13 0M3.500 10c0 3.300 13 3.300 13 0',
  security: 'M10 2.500l6.500 2.300v4.700c0 4-2.700 6.800-6.500 8-3.800-1.200-6.500-4-6.500-8V4.800zM7 10l2.200 2.200L13.300 8',
  config: 'M3 6h7M14 6h3M3 14h3M10 14h7M12 8a2 2 0 100-4 2 2 0 000 4zM8 16a2 2 0 100-4 2 2 0 000 4z',
  menu: 'M3 5.500h14M3 10h14M3 14.500h14',
  close: 'M5 5l10 10M15 5L5 15',
  sun: 'M10 13.500a3.500 3.500 0 100-7 3.500 3.500 0 000 7zM10 1.800v1.700M10 16.500v1.700M1.800 10h1.700M16.500 10h1.700M4.200 4.200l1.200 1.200M14.600 14.600l1.200 1.200M4.200 15.800l1.200-1.200M14.600 5.400l1.200-1.200',
  moon: 'M16.500 12A7 7 0 018 3.500 7 7 0 1016.500 12z',
  system: 'M3 4h14v9.500H3zM7.500 17h5M10 13.500V17',
  search: 'M8.700 14.400a5.700 5.700 0 100-11.400 5.700 5.700 0 000 11.400zM13 13l4 4',
  good: 'M4 10.500l4 4 8-9',
  bad: 'M10 2.500L18.300 17H1.700zM10 8v4M10 14.300v.4',
  note: 'M10 17.500a7.500 7.500 0 100-15 7.500 7.500 0 000 15zM10 9v5M10 6.200v.4',
  plus: 'M10 4v12M4 10h12',
  trash: 'M3.500 5.500h13M8 5.500V3h4v2.500M5.500 5.500l.8 11.500h7.400l.8-11.500M8.500 8.500v5.500M11.500 8.500v5.500',
};

export function Icon({ name, size = 18 }: { name: string; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={PATHS[name] ?? ''} />
    </svg>
  );
}

export function Logo() {
  return (
    <svg class="logo" width="34" height="34" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="#0b5563" />
      <g fill="#8fe3ec">
        <ellipse cx="9.2" cy="11" rx="7" ry="2.5" transform="rotate(14 9.2 11)" />
        <ellipse cx="22.8" cy="11" rx="7" ry="2.5" transform="rotate(-14 22.8 11)" />
        <ellipse cx="10" cy="16" rx="6" ry="2.2" transform="rotate(-16 10 16)" opacity=".75" />
        <ellipse cx="22" cy="16" rx="6" ry="2.2" transform="rotate(16 22 16)" opacity=".75" />
      </g>
      <path d="M16 10v16" stroke="#fff" stroke-width="2.6" stroke-linecap="round" />
      <circle cx="16" cy="8" r="2.7" fill="#fff" />
    </svg>
  );
}
