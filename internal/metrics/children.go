package metrics

import (
	"strconv"
	"sync"
	"sync/atomic"
)

// children caches the resolved children of a metric, so that counting costs a
// lookup in a short list and an atomic add. Children are created on first use.
type children[K comparable, V any] struct {
	few  atomic.Pointer[[]child[K, V]]
	mu   sync.Mutex
	many atomic.Pointer[sync.Map] // used once few is full
}

type child[K comparable, V any] struct {
	key   K
	value V
}

const fewChildren = 12

func (c *children[K, V]) get(key K, make func() V) V {
	if list := c.few.Load(); list != nil {
		for i := range *list {
			if (*list)[i].key == key {
				return (*list)[i].value
			}
		}
	}
	if many := c.many.Load(); many != nil {
		if v, ok := many.Load(key); ok {
			return v.(V)
		}
	}
	return c.add(key, make)
}

func (c *children[K, V]) add(key K, make func() V) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []child[K, V]
	if p := c.few.Load(); p != nil {
		list = *p
	}
	for i := range list {
		if list[i].key == key {
			return list[i].value
		}
	}
	if len(list) < fewChildren {
		v := make()
		list = append(list[:len(list):len(list)], child[K, V]{key, v})
		c.few.Store(&list)
		return v
	}
	many := c.many.Load()
	if many == nil {
		many = &sync.Map{}
		c.many.Store(many)
	}
	if v, ok := many.Load(key); ok {
		return v.(V)
	}
	v := make()
	many.Store(key, v)
	return v
}

func statusText(status int) string { return strconv.Itoa(status) }
