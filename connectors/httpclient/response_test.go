package httpclient

import (
	"io"
	"strings"
	"testing"
)

func TestReadAll(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 100000, maxPreallocated, maxPreallocated + 1, maxPreallocated + 100000} {
		text := strings.Repeat("x", size)
		for _, announced := range []int64{-1, int64(size)} {
			for _, limit := range []int64{int64(size), int64(size) + 1, 1 << 30} {
				b, err := ReadAll(nil, strings.NewReader(text), announced, limit)
				if err != nil || string(b) != text {
					t.Errorf("%d bytes, announced %d, limit %d: got %d bytes, %v, want all", size, announced, limit, len(b), err)
				}
			}
			if size > 0 {
				if b, err := ReadAll(nil, strings.NewReader(text), announced, int64(size)-1); err != ErrTooLarge || len(b) > size-1 {
					t.Errorf("%d bytes, announced %d, limit below: got %d bytes, %v, want %v", size, announced, len(b), err, ErrTooLarge)
				}
			}
		}
		if _, err := ReadAll(nil, strings.NewReader(text), int64(size)+1, 1<<30); err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes of %d: got %v, want %v", size, size+1, err, io.ErrUnexpectedEOF)
		}
	}
}
