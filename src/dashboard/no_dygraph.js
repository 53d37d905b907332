/* In the place of the charting library, where configure did not find it: the page shows tables and says so. */
