package controlplane

import (
	"context"
	"log/slog"
	"time"
)

// Start starts the control plane of a command. stop stops it.
func Start(c *Command) (stop func() error, err error) {
	c.Retention, c.Rate = time.Hour, 100
	p, err := open(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if err := p.start(context.Background()); err != nil {
		return nil, p.stopAfter(err)
	}
	return func() error { return p.stopAfter(nil) }, nil
}
