// Command appender is the fire-and-forget baseline: it appends a body to a file
// and answers after a flush that all waiting requests share. With -sink it also
// delivers the stored bodies from memory.
package main

import (
	"encoding/binary"
	"flag"
	"hash/crc32"
	"log"
	"net/http"
	"os"
	"sync"
	"syscall"

	"valence/internal/test/bench/baseline/order"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9001", "address to listen on")
	path := flag.String("file", "events.log", "file to append to")
	sink := flag.String("sink", "", "URL to deliver to; nothing is delivered without it")
	workers := flag.Int("workers", 64, "deliveries at once")
	flag.Parse()
	f, err := os.OpenFile(*path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	a := &appender{file: f, in: make(chan *entry, 8192)}
	if *sink != "" {
		done, err := os.OpenFile(*path+".done", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			log.Fatal(err)
		}
		a.delivery = deliver(*sink, *workers, done)
	}
	go a.commit()
	log.Fatal(http.ListenAndServe(*listen, a))
}

// entry is one body that is not on disk yet.
type entry struct {
	id   uint64
	body []byte
	done chan error
}

type appender struct {
	file     *os.File
	in       chan *entry
	delivery *delivery // nil: bodies are not delivered
}

var entries = sync.Pool{New: func() any { return &entry{done: make(chan error, 1)} }}

func (a *appender) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := order.Body(r)
	if err == nil {
		e := entries.Get().(*entry)
		e.body = b
		a.in <- e
		err = <-e.done
		e.body = nil
		entries.Put(e)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// commit writes all waiting entries, flushes once and releases them. A record is
// length, checksum, id and body.
func (a *appender) commit() {
	const most = 4096
	var next uint64
	var end int64
	var buf []byte
	batch := make([]*entry, 0, most)
	for {
		batch = append(batch[:0], <-a.in)
		for more := true; more && len(batch) < most; {
			select {
			case e := <-a.in:
				batch = append(batch, e)
			default:
				more = false
			}
		}
		buf = buf[:0]
		for _, e := range batch {
			e.id = next
			next++
			buf = binary.LittleEndian.AppendUint32(buf, uint32(len(e.body)))
			buf = binary.LittleEndian.AppendUint32(buf, crc32.ChecksumIEEE(e.body))
			buf = binary.LittleEndian.AppendUint64(buf, e.id)
			buf = append(buf, e.body...)
		}
		_, err := a.file.WriteAt(buf, end)
		end += int64(len(buf))
		if err == nil {
			err = syscall.Fdatasync(int(a.file.Fd()))
		}
		var stored []event
		if a.delivery != nil && err == nil {
			stored = make([]event, len(batch))
			for i, e := range batch {
				stored[i] = event{e.id, e.body}
			}
		}
		for _, e := range batch {
			e.done <- err
		}
		if stored != nil {
			a.delivery.push(stored)
		}
	}
}
