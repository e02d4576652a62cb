// A plot over time, in the theme's colours.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useStore } from '../store';
import { theme } from '../theme';

export interface Series {
  label: string;
  /** A variable of the style sheet. */
  color: string;
  fill?: boolean;
}

interface Props {
  label: string;
  series: Series[];
  /** Times in seconds, then one row for each series. */
  data: (number | null)[][];
  show: (value: number) => string;
  height?: number;
  /** From the left edge to the right one. */
  seconds: number;
  /** The top of an empty plot. */
  least: number;
  /** Lines at powers of two. */
  binary?: boolean;
}

const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);
const WHOLE = Array.from({ length: 36 }, (_, index) => [1, 2, 5][index % 3]! * 10 ** Math.floor(index / 3));

export function Plot({ label, series, data, show, seconds, least, binary, height = 180 }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(data);
  latest.current = data;
  const themed = useStore(theme);

  useEffect(() => {
    const element = frame.current!;
    const style = getComputedStyle(document.documentElement);
    const color = (name: string) => style.getPropertyValue(name).trim();
    const axis = { stroke: color('--muted'), grid: { stroke: color('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' };
    const made = new uPlot(
      {
        width: Math.max(200, element.clientWidth), height,
        padding: [10, 26, 0, 0],
        cursor: { points: { size: 7 }, y: false },
        legend: { show: false },
        scales: {
          x: { time: true, range: (_plot, _min, max) => [(max ?? 0) - seconds, max ?? 0] },
          y: { range: (_plot, _min, max) => [0, Math.max(least, (max ?? 0) * 1.15)] },
        },
        axes: [
          { ...axis, size: 32, space: 70, values: [[60, '{HH}:{mm}', null, null, null, null, null, null, 1], [1, '{HH}:{mm}:{ss}', null, null, null, null, null, null, 1]] },
          { ...axis, size: binary ? 62 : 46, space: 34, incrs: binary ? POWERS : WHOLE, values: (_plot, values) => values.map((value) => show(value)) },
        ],
        series: [
          {},
          ...series.map((one) => ({
            label: one.label, stroke: color(one.color), width: 2, points: { show: false },
            fill: one.fill ? `${color(one.color)}22` : undefined,
          })),
        ],
      },
      latest.current as uPlot.AlignedData,
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: Math.max(200, element.clientWidth), height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [themed, height, label, seconds]);

  useEffect(() => plot.current?.setData(data as uPlot.AlignedData), [data]);

  const now = series.map((one, index) => ({ ...one, value: data[index + 1]?.at(-1) ?? null }));
  const said = now.map((one) => `${one.label} ${one.value === null ? 'not known yet' : show(one.value)}`).join(', ');
  return (
    <div>
      <ul class="legend" aria-hidden="true">
        {now.map((one) => (
          <li key={one.label}><i style={{ background: `var(${one.color})` }} />{one.label}<b>{one.value === null ? '–' : show(one.value)}</b></li>
        ))}
      </ul>
      <div class="plot" ref={frame} role="img" aria-label={`${label}: ${said}`} style={{ minHeight: `${height}px` }} />
    </div>
  );
}

/** The same, as small as a word. */
export function Spark({ values, color }: { values: (number | null)[]; color: string }) {
  const known = values.filter((value): value is number => value !== null).slice(-60);
  if (known.length < 2) return <svg class="spark" aria-hidden="true" />;
  const top = Math.max(1e-9, ...known) * 1.1;
  const points = known.map((value, index) => `${((index / (known.length - 1)) * 100).toFixed(1)},${(26 - (value / top) * 24).toFixed(1)}`);
  return (
    <svg class="spark" viewBox="0 0 100 28" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points.join(' ')} fill="none" stroke={`var(${color})`} stroke-width="1.6" vector-effect="non-scaling-stroke" stroke-linejoin="round" />
    </svg>
  );
}
