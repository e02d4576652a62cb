import { render } from 'preact';
import { App } from './app';
import { watch } from './live';
import './style.css';

watch();
render(<App />, document.getElementById('app')!);
