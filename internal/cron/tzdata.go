package cron

import _ "time/tzdata" // so that zones are the same on every machine, with or without a database of its own
