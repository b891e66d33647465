"""What authors of plugins and stores test with: suites, fakes and clocks."""
