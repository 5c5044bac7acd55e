package terminal

import (
	"io"
	"log/slog"

	"valence/internal/clierror"
)

// LogFlags are the flags of the log on standard error.
type LogFlags struct {
	LogFormat string `group:"Logging:" enum:"text,json" default:"text" env:"VALENCE_LOG_FORMAT" help:"Log format: text or json."`
	LogLevel  string `group:"Logging:" enum:"debug,info,warn,error" default:"info" env:"VALENCE_LOG_LEVEL" help:"Log level: debug, info, warn or error."`
	AccessLog int    `group:"Logging:" name:"access-log" default:"0" env:"VALENCE_ACCESS_LOG" help:"Log every n-th request, and all failed ones; 0 logs none."`
}

// Check returns an error for flags that are invalid.
func (f *LogFlags) Check() error {
	if f.AccessLog < 0 {
		return clierror.Usage("--access-log 1", "--access-log must be 0 or more")
	}
	return nil
}

// Logger returns the logger that the flags describe.
func (f *LogFlags) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.LogLevel)); err != nil {
		level = slog.LevelInfo // unreachable: the flag is an enum
	}
	o := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
