// Loaded when the first connection opens: it is larger than all the rest.
import mqtt from 'mqtt';

export default mqtt;
