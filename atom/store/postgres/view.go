package postgres

import (
	"context"
	"time"

	"valence/atom/store"
)

// Group implements store.Group.
func (s *Store) Group(ctx context.Context) (*store.GroupView, error) {
	g := &store.GroupView{Name: s.o.Group}
	byEpoch := map[int64]*store.MemberView{}
	var m store.MemberView
	var lease float64
	err := s.each(ctx, []any{&m.Epoch, &m.Name, &m.Version, &m.Joined, &lease, &m.Blocks}, func() error {
		own := m
		own.Lease, own.Joined = time.Duration(lease*float64(time.Second)), m.Joined.UTC()
		own.This = m.Epoch == s.lease.current()
		g.Members = append(g.Members, &own)
		byEpoch[own.Epoch] = &own
		return nil
	}, `SELECT m.epoch, m.name, m.version, m.joined, greatest(0, CASE WHEN isfinite(m.until) THEN extract(epoch FROM m.until - clock_timestamp()) ELSE 0 END)::float8,
		(SELECT count(*) FROM atom_block AS b WHERE b.holder = m.epoch) FROM atom_member AS m ORDER BY m.epoch`)
	if err != nil {
		return nil, err
	}
	var epoch int64
	var oldest *int64
	err = s.each(ctx, []any{&epoch, &m.Backlog, &m.Lanes, &oldest}, func() error {
		if own := byEpoch[epoch]; own != nil {
			own.Backlog, own.Lanes = m.Backlog, m.Lanes
			if oldest != nil {
				own.Lag = max(0, s.clock.now().Sub(timeOf(oldest)))
			}
		}
		return nil
	}, `SELECT b.holder, count(*), count(DISTINCT (x.lane_scope, x.lane_key)) FILTER (WHERE x.lane_scope IS NOT NULL), min(x.received) FILTER (WHERE x.state IN (1, 3))
		FROM atom_execution AS x JOIN atom_block AS b ON b.id = x.seq >> 20 WHERE x.state < 4 GROUP BY b.holder`)
	return g, err
}
